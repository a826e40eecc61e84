"""Words that identify the made patients of test data; they must stand in no log, record, metric or error."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from claimed_med.testing.example import PLANTED_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SHORTEST = 6
_RECORDS = (
    *("lineage.json", "units.json", "run.json", "ro-crate-metadata.json", "*events*.jsonl", "openlineage*.jsonl"),
    *("*.log", "*.prom", "*.ndjson", "metrics*", "status*.json"),
)


@cache
def words(key: Path | None = None) -> frozenset[str]:
    """What must not be seen, in lower case.

    Args:
        key: Answer key of a benchmark: every value that must be removed counts, but for bare numbers, which stand in
            digests too.
    """
    found = {word.lower() for word in PLANTED_WORDS}
    if key is not None and key.is_file():
        with key.open(encoding="utf-8") as stream:
            found |= {row["value"].lower() for row in csv.DictReader(stream) if row["action"] == "text_removed"}
    return frozenset(word for word in found if len(word) >= _SHORTEST and not word.isdigit())


def seen(texts: Iterable[str], unwanted: Iterable[str]) -> list[str]:
    """The unwanted words that stand in any of the texts."""
    lowered = [text.lower() for text in texts]
    return sorted(word for word in unwanted if any(word in text for text in lowered))


def records_below(folder: Path) -> Iterator[str]:
    """The texts of all records, tables, logs and metrics below a folder."""
    for pattern in _RECORDS:
        for path in folder.rglob(pattern):
            if path.is_file():
                yield path.read_text(encoding="utf-8", errors="replace")
