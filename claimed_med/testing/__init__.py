"""What others can run too: the conformance battery, and synthetic DICOM."""
