"""Contract in, something else out: one file per target."""
