"""The components, one file each, in a folder per category."""
