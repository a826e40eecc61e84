"""DICOM in, DICOM out: read any series, write valid objects that refer to it."""
