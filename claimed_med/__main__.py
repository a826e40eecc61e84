"""`python -m claimed_med` is the same as `claimed-med`."""

from __future__ import annotations

import sys

from claimed_med.cli import main

if __name__ == "__main__":
    sys.exit(main())
