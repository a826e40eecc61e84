"""What keeps running: the receiver of DICOM objects and the router of studies."""
