"""What the records tell: the way back to the source, and whether anything changed since."""
