"""What lineage costs: hashing, the records of a pipeline, an index over a million records, a trace in it.

Under load wall time says little: CPU time is given beside it, of this process and its workers.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import hashlib
import importlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What is done in a run only because there is lineage, and what of a run is hashing; a call within another of the lists
# counts for itself, not for the outer one.
LINEAGE = (
    "claimed_med.execute:record_of",
    "claimed_med.execute:parent_digests",
    "claimed_med.execute:note_origins",
    "claimed_med.execute:inputs_of",
    "claimed_med.folder:Folders.write_record",
    "claimed_med.folder:Folders.parents",
    "claimed_med.handles:_Dicom.identifiers",
    "claimed_med.handles:DicomCollection.identifiers",
    "claimed_med.lineage:identity",
    "claimed_med.lineage:read",
    "claimed_med.openlineage:event",
    "claimed_med.openlineage:emit",
    "claimed_med.openlineage:finish",
    "claimed_med.provenance.runfile:describe",
    "claimed_med.provenance.runfile:write",
    "claimed_med.units:_told",
)
HASHING = (
    "claimed_med.payload:sha256_of",
    "claimed_med.payload:digest_files",
    "claimed_med.execute:weights_digest",
)
N_STUDIES, N_STEPS, N_SLICES, N_COPIES = 10_000, 10, 30, 10  # a hundred thousand records, then a million
N_RUNS = 3
N_TRACES = 200


def run(n_studies: int = N_STUDIES) -> list[dict[str, Any]]:
    """All rows; fewer studies for a look."""
    return [*hashing(), *pipeline(), *index(n_studies)]


def hashing() -> list[dict[str, Any]]:
    """How fast this machine hashes: a large buffer, one large file, and a folder of 300 CT slices."""
    from claimed_med.payload import digest_files, sha256_of

    rows = []
    buffer = os.urandom(256 << 20)
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / "large"
        large.write_bytes(buffer)
        slices = {f"{number}": Path(folder) / f"{number}" for number in range(300)}
        for path in slices.values():
            path.write_bytes(buffer[: 512 * 512 * 2 + 2048])
        cases: dict[str, tuple[int, Callable[[], Any]]] = {
            "sha256 of 256 MiB in memory": (len(buffer), lambda: hashlib.sha256(buffer).digest()),
            "one file of 256 MiB": (len(buffer), lambda: sha256_of(large)),
            "300 files of 0.5 MiB": (300 * (512 * 512 * 2 + 2048), lambda: digest_files(dict(slices))),
        }
        for case, (n_bytes, work) in cases.items():
            taken = [_measured(work) for _ in range(5)]
            wall, cpu = min(one[0] for one in taken), statistics.median(one[1] for one in taken)
            rows.append(
                {
                    "case": case,
                    "GB/s, best of 5": round(n_bytes / wall / 1e9, 2),
                    "GB/s of CPU time": round(n_bytes / cpu / 1e9, 2),
                    "load": round(os.getloadavg()[0], 1),
                }
            )
    return rows


def pipeline() -> list[dict[str, Any]]:
    """The tasks of segment_and_report, one after the other in this process: on the demo study and on a real head MR.

    Medians of three runs: one collection of garbage takes longer than all records, and falls where it falls.
    """
    from bench_reading import SHARED

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        os.environ["CLAIMED_MED_EVENTS"] = str(place / "events.jsonl")
        words = [sys.executable, "-m", "claimed_med", "data", "make", "brain-mr"]
        given = {**os.environ, "CLAIMED_MED_DATA": str(place / "data")}
        told = subprocess.run(words, check=True, capture_output=True, text=True, env=given).stdout
        studies = {
            "demo study": Path(told.strip().splitlines()[-1]),
            "mr_t1_siemens_head": SHARED / "mr_t1_siemens_head",
        }
        for name, study in studies.items():
            if study.is_dir():
                rows += _rows_of(name, [_pipeline_on(study, place / f"{name} {turn}") for turn in range(N_RUNS)])
    return rows


def _rows_of(name: str, watches: list[Stopwatch]) -> list[dict[str, Any]]:
    return [
        {
            "case": f"segment_and_report, {name}: {what}",
            "CPU s": round(statistics.median(one.cpu[what] for one in watches), 3),
            "of": round(statistics.median(one.cpu[""] for one in watches), 1),
            "share of CPU, %": round(statistics.median(100 * one.cpu[what] / one.cpu[""] for one in watches), 2),
            "share of wall, %": round(statistics.median(100 * one.wall[what] / one.wall[""] for one in watches), 2),
            "load": round(os.getloadavg()[0], 1),
        }
        for what in ("lineage beside hashing", "hashing")
    ]


def _pipeline_on(study: Path, place: Path) -> Stopwatch:
    from claimed_med import lineage
    from claimed_med import run as running
    from claimed_med.engines import ir
    from claimed_med.provenance import runfile

    series, made = place / "select-series" / "selected", place / "segment-brain" / "segmentation"
    pair = ("--series", series, "--segmentation", made)
    tasks: list[tuple[Any, ...]] = [
        ("load-folder", "--path", study),
        ("check-quality", "--series", place / "load-folder" / "collection"),
        ("select-series", "--collection", place / "check-quality" / "checked", "--rule", 'Modality == "MR"'),
        ("segment-brain", "--series", series),
        ("measure-segments", *pair),
        ("render-overview", *pair),
    ]
    place.mkdir()
    for remembered in (
        lineage.package_version,
        lineage.packages_digest,
        lineage.pinned_versions,
        lineage.source_revision,
    ):
        remembered.cache_clear()  # as in a new run
    compiled = ir.load(Path(__file__).parent.parent / "pipelines" / "segment_and_report.yaml")
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing), Stopwatch() as watch:  # noqa: PTH123 - a device
        runfile.write(place, runfile.describe(compiled.name, compiled.as_dict(), {}, "local"))
        for task, *rest in tasks:
            assert running.main([task, *map(str, rest), "--out", str(place / task)]) == 0, task
    return watch


class Stopwatch:
    """CPU and wall time of the block (under ''), and of the functions of the two lists in it."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = collections.Counter()
        self.wall: dict[str, float] = collections.Counter()
        self._inner: list[list[float]] = []  # of every call that goes on: what the calls in it took
        self._restored: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> Self:
        """Put a watch around every function, wherever it was imported to."""
        for kind, names in (("lineage beside hashing", LINEAGE), ("hashing", HASHING)):
            for name in names:
                self._watch(kind, *name.split(":"))
        self._started = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the watches away."""
        self.cpu[""] += time.process_time() - self._started[0]
        self.wall[""] += time.perf_counter() - self._started[1]
        for owner, name, original in reversed(self._restored):
            setattr(owner, name, original)

    def _watch(self, kind: str, module: str, path: str) -> None:
        owner = importlib.import_module(module)
        *outer, name = path.split(".")
        for one in outer:
            owner = getattr(owner, one)
        original = getattr(owner, name)
        watched = self._timed(kind, original)
        owners = [owner, *(one for key, one in sys.modules.items() if key.startswith("claimed_med") and not outer)]
        for one in owners:
            if vars(one).get(name) is original:
                self._restored.append((one, name, original))
                setattr(one, name, watched)

    def _timed(self, kind: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def watched(*args: Any, **kwargs: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                return original(*args, **kwargs)  # the call that waits for it counts, with the CPU time of all threads
            cpu, wall = time.process_time(), time.perf_counter()
            self._inner.append([0.0, 0.0])
            try:
                return original(*args, **kwargs)
            finally:
                cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
                inner = self._inner.pop()
                self.cpu[kind] += cpu - inner[0]
                self.wall[kind] += wall - inner[1]
                if self._inner:
                    self._inner[-1][0] += cpu
                    self._inner[-1][1] += wall

        return watched


def index(n_studies: int) -> list[dict[str, Any]]:
    """Build an index over made records; then fill it up to ten times as many, and trace in it."""
    from claimed_med.provenance.index import build
    from claimed_med.provenance.lookup import trace, where_used
    from claimed_med.provenance.store import connected

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root, place = Path(folder) / "store", str(Path(folder) / "index.sqlite")
        for number, record in _made(n_studies):
            target = root / f"{number // 1000}" / f"{number}" / "capture"
            target.mkdir(parents=True)
            (target / "lineage.json").write_text(record)
        wall, cpu = _measured(lambda: rows.append({"n_records": build([root], place).n_records}))
        n_records = rows.pop()["n_records"]
        assert n_records == n_studies * N_STEPS, "records that are refused are read fast"
        rows.append(
            {
                "case": f"index of {n_records:,} records in {n_studies:,} files",
                "records/s": round(n_records / wall),
                "records/s of CPU time": round(n_records / cpu),
                "size [GiB]": round(Path(place).stat().st_size / 2**30, 2),
                "load": round(os.getloadavg()[0], 1),
            }
        )
        _fill(place)
        n_records *= N_COPIES
        with connected(place) as store:
            for case, work in (
                ("trace of an object", lambda number: trace(store, [_uid(number, N_STEPS - 1, 0)])),
                ("where-used of a series", lambda number: where_used(store, _uid(number, 0, -1))),
            ):
                times = []
                for turn in range(N_TRACES):
                    number = turn * 7919 % n_studies
                    started = time.perf_counter()
                    found = work(number)
                    times.append(1000 * (time.perf_counter() - started))
                    assert found, case
                rows.append(
                    {
                        "case": f"{case} in {n_records:,} records",
                        "median [ms]": round(statistics.median(times), 2),
                        "slowest of 200 [ms]": round(max(times), 2),
                    }
                )
        words = [sys.executable, "-m", "claimed_med", "lineage", "where-used", _uid(0, 0, -1), "--db", place]
        wall, _ = _measured(lambda: subprocess.run(words, check=True, capture_output=True))
        rows.append({"case": "where-used, whole process", "median [ms]": round(1000 * wall)})
    return rows


def _fill(place: str) -> None:
    """Copy every row of an index under other names, until it holds ten times as many records."""
    from claimed_med.provenance.store import INDEXES, connected

    with connected(place, fast=True) as store:
        for statement in INDEXES:
            store.do(f"DROP INDEX {statement.split()[-4]}")
        n_records = store.rows("SELECT max(number) + 1 FROM records")[0][0]
        for copy in range(1, N_COPIES):
            more, end = copy * n_records, f"'{copy}-'"
            where = f"WHERE number < {n_records}"
            changed = f"number + {more}, {end} || substr(digest, 3), component, version, port, payload, place, body"
            store.do(f"INSERT INTO records SELECT {changed} FROM records {where}")  # noqa: S608 - our own numbers
            changed = f"child + {more}, port, {end} || substr(parent, 3)"
            where = f"WHERE child < {n_records}"
            store.do(f"INSERT INTO parents SELECT {changed} FROM parents {where}")  # noqa: S608 - as above
            changed = f"name || {end}, role, unit, record + {more}"
            where = f"WHERE record < {n_records}"
            store.do(f"INSERT INTO names SELECT {changed} FROM names {where}")  # noqa: S608 - as above
        for statement in INDEXES:
            store.do(statement)
        store.commit()


def _made(n_studies: int) -> Iterator[tuple[int, str]]:
    """Studies of one CT with a chain of ten runs each; the last record carries the others, under their true digests."""
    for number in range(n_studies):
        yield number, _study(number)


def _study(number: int) -> str:
    from claimed_med.lineage import Record, UnitRecord, environment

    here = environment(1, "cpu") | {
        "started": "2026-01-01T00:00:00.000+00:00",
        "ended": "2026-01-01T00:00:01.000+00:00",
    }
    record = None
    for step in range(N_STEPS):
        entering = step == 0
        files = {
            f"{_uid(number, step, one)}.dcm": {
                "sha256": _digest(number, step, one),
                "sop_uid": _uid(number, step, one),
                "series_uid": _uid(number, step, -1),
                **({"patient": _digest(number, 0, -2)[:16]} if entering else {}),
            }
            for one in range(N_SLICES if entering else 1)
        }
        inputs: dict[str, Any] = {} if record is None else {"series": {"digest": record.payload}}
        if step == 1:
            inputs["series"] |= {
                "sop_uids": [_uid(number, 0, one) for one in range(N_SLICES)],
                "series_uids": [_uid(number, 0, -1)],
                "patients": [_digest(number, 0, -2)[:16]],
            }
        unit = UnitRecord("" if entering else _digest(number, 0, -3)[:16], "done", _digest(number, step, -4), inputs)
        settings = {"threshold_hu": -320.0, "min_slices": 3}
        following = Record(f"component-{step}", "1.0.0", "output", settings, units=[unit], environment=here)
        if record is not None:
            following.adopt("series", record)
        record = following.with_files(files)
    assert record is not None
    return record.to_json()


def _uid(*parts: int) -> str:
    return f"2.25.{int(_digest(*parts)[:32], 16)}"


def _digest(*parts: int) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _measured(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU seconds of a piece of work, workers included."""
    before, started = os.times(), time.perf_counter()
    work()
    wall, after = time.perf_counter() - started, os.times()
    return wall, sum(after[:4]) - sum(before[:4])


if __name__ == "__main__":
    for one in run(int(sys.argv[1]) if len(sys.argv) > 1 else N_STUDIES):
        print(one, flush=True)
