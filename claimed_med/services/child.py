"""A program that the router starts, and that ends when the router does: `python -m ... child PARENT_PID WORDS...`."""

from __future__ import annotations

import os
import sys

from claimed_med.workers import die_with_parent


def main(words: list[str]) -> None:
    """Become `claimed-med WORDS...`, bound to the life of the parent."""
    die_with_parent()
    if os.getppid() != int(words[0]):
        os._exit(1)  # the parent died before the bond was made
    os.execv(sys.executable, [sys.executable, "-m", "claimed_med", *words[1:]])  # noqa: S606 - our own words, no shell


if __name__ == "__main__":
    main(sys.argv[1:])
