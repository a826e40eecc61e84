"""Arrays in, arrays out; knows no DICOM."""
