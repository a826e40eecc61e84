"""An index over all records of a hospital: from any UID or digest to the runs that made or used it.

It is built from the records at any time and holds nothing else, so it can be thrown away. Records of ancestors are
taken from the records that carry them, so a run whose folder is gone is still found.
"""

from __future__ import annotations

import gc
import os
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from claimed_med.errors import InputError
from claimed_med.payload import LINEAGE, PARTIAL
from claimed_med.provenance.rows import MALFORMED, Ancestor, Found, Rows, add, rows_of
from claimed_med.provenance.store import INDEXES, TABLES, connected, is_postgres
from claimed_med.workers import WorkerDied, map_tasks, n_cores

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from claimed_med.provenance.store import Store

ENVIRONMENT = "CLAIMED_MED_INDEX"
_AT_ONCE = 512  # records that a worker reads in one go
_REMEMBERED = 100  # ancestors that are compared and not read again; those of a run lie side by side, more cost memory
_FEW = 2_000  # up to so many files no second process is started


@dataclass(frozen=True)
class Built:
    """What an index was built from.

    Attributes:
        n_files: Files `lineage.json` that were read.
        n_records: Records in them, each counted once.
        n_before: Records that the index held before: those that are kept, or those that it was built anew without.
        unreadable: Folders whose `lineage.json` is no record.
        forged: Folder and digest of every ancestor that is not the record of that digest. Nothing of it is in the
            index; the record that carries it is.
    """

    n_files: int
    n_records: int
    n_before: int
    unreadable: tuple[str, ...]
    forged: tuple[tuple[str, str], ...] = ()


def default_place() -> str:
    """Path or URL of the index: CLAIMED_MED_INDEX, else a file in the user's data folder."""
    if given := os.environ.get(ENVIRONMENT, ""):
        return given
    base = os.environ.get("XDG_DATA_HOME", "") or Path.home() / ".local" / "share"
    return str(Path(base) / "claimed_med" / "lineage.sqlite")


def build(
    roots: Sequence[Path], place: str, *, anew: bool = True, may_be_empty: bool = False, workers: int = 0
) -> Built:
    """Build the index from every record below some folders.

    An index that is built anew takes its place only when it is complete, and holds a record: folders without any are
    those of a disk that is away, or mistyped, more often than not.

    Args:
        roots: Run folders, or folders of them.
        place: Path of a SQLite file, or URL of PostgreSQL.
        anew: Forget what is in the index; False adds to it.
        may_be_empty: Whether an index that is built anew may hold nothing.
        workers: Processes that read records; by default one per core.

    Raises:
        InputError: A folder does not exist, there is no record in any, or the database cannot be opened.
    """
    missing = [one.name for one in roots if not one.is_dir()]
    if missing:
        raise InputError("lineage index", "a folder does not exist", got=", ".join(missing), do="check the paths")
    with _no_collection():
        return _build_in(roots, place, _How(anew, may_be_empty, workers))


@contextmanager
def _no_collection() -> Iterator[None]:
    """Let nobody look for cycles among millions of tuples that have none: a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@dataclass(frozen=True)
class _How:
    anew: bool
    may_be_empty: bool
    workers: int


def _build_in(roots: Sequence[Path], place: str, how: _How) -> Built:
    if is_postgres(place):
        with connected(place) as store:
            store.check()
            return _build(store, roots, how, _n_records(store))
    path = Path(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    n_before = 0
    if path.exists():
        with connected(place) as store:
            store.check()
            n_before = _n_records(store)
            if not how.anew:
                return _build(store, roots, how, n_before)
    partial = path.with_name(f"{PARTIAL}{path.name}-{os.getpid()}")
    try:
        with connected(str(partial), fast=True) as store:
            built = _build(store, roots, replace(how, anew=True), n_before)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return built


def _n_records(store: Store) -> int:
    """How many records an index holds, if it is one yet."""
    return int(store.rows("SELECT count(*) FROM records")[0][0]) if store.is_built() else 0


def _build(store: Store, roots: Sequence[Path], how: _How, n_before: int) -> Built:
    if how.anew:
        for table in ("names", "parents", "records"):
            store.do(f"DROP TABLE IF EXISTS {table}")
    for statement in TABLES if how.anew else (*TABLES, *INDEXES):
        store.do(statement)
    numbers = _Numbers() if how.anew else _Numbers.of(store)
    n_files, n_kept = 0, len(numbers.known)
    unreadable: list[str] = []
    forged: list[tuple[str, str]] = []
    for part in _read(list(_records_below(roots)), how.workers):
        n_files += len(part)
        unreadable += [place for place, found in part if found is None]
        forged += [(place, name) for place, found in part if found is not None for name in found.forged]
        add(store, *numbers.taken(rows for _, found in part if found is not None for rows in found.rows))
    if how.anew and not numbers.known and not how.may_be_empty:
        do = "check the folders; to forget all records on purpose, say --empty"
        raise InputError("lineage index", "no record lies below these folders; the index is as it was", do=do)
    for statement in INDEXES:
        store.do(statement)
    store.commit()
    return Built(n_files, len(numbers.known) - n_kept, n_before, tuple(unreadable), tuple(forged))


@dataclass
class _Numbers:
    """The records that are in the index by now.

    Attributes:
        known: Digest -> number.
        lost: Numbers of those that were met as ancestors only.
    """

    known: dict[str, int] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, store: Store) -> _Numbers:
        """Those of an index that is added to."""
        listed = store.rows("SELECT digest, number, place FROM records")
        return cls(
            {digest: number for digest, number, _ in listed}, {number for _, number, place in listed if not place}
        )

    def taken(self, found: Iterable[Rows]) -> tuple[list[tuple[int, Rows]], list[tuple[str, int]]]:
        """Number what is new; (new records, places of records that had none)."""
        fresh, places = [], []
        number = len(self.known)
        for rows in found:
            earlier = self.known.setdefault(rows.digest, number)
            if earlier == number:
                fresh.append((number, rows))
                number += 1
                if not rows.place:
                    self.lost.add(earlier)
            elif rows.place and earlier in self.lost:
                self.lost.remove(earlier)
                places.append((rows.place, earlier))
        return fresh, places


def _records_below(roots: Sequence[Path]) -> Iterator[str]:
    """Folders that hold a record; a unit's folder never does."""
    for root in roots:
        todo = [str(root.resolve())]
        while todo:
            folder = todo.pop()
            inside: list[str] = []
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name == LINEAGE:
                        yield folder
                        inside.clear()
                        break
                    if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(PARTIAL):
                        inside.append(entry.path)
            todo += inside


def _read(folders: Sequence[str], workers: int) -> Iterator[list[tuple[str, Found | None]]]:
    """Read records in chunks, on several processes when there are many; a few chunks are in memory at a time."""
    chunks = [folders[start : start + _AT_ONCE] for start in range(0, len(folders), _AT_ONCE)]
    n_workers = workers or n_cores()
    if n_workers == 1 or len(folders) < _FEW:
        yield from map(_read_chunk, chunks)
        return
    for index, found in map_tasks(_read_apart, chunks, n_workers=n_workers, n_threads=1, fork=True):
        yield _read_chunk(chunks[index]) if isinstance(found, WorkerDied) else found


def _read_apart(folders: Sequence[str]) -> list[tuple[str, Found | None]]:
    """In a process of its own, which holds nothing that could be collected."""
    gc.disable()
    return _read_chunk(folders)


def _read_chunk(folders: Sequence[str]) -> list[tuple[str, Found | None]]:
    known: dict[str, Ancestor] = {}
    found = []
    for folder in folders:
        if len(known) > _REMEMBERED:
            known.clear()
        found.append((folder, _read_one(folder, known)))
    return found


def _read_one(folder: str, known: dict[str, Ancestor]) -> Found | None:
    try:
        with open(f"{folder}/{LINEAGE}", "rb") as stream:  # noqa: PTH123 - a Path for each of a million costs seconds
            return rows_of(stream.read(), folder, known)
    except (OSError, *MALFORMED):
        return None
