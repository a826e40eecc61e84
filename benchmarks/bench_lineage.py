"""What lineage costs: hashing, the records of a pipeline, an index over a million records, a trace in it.

Under load wall time says little: CPU time is given beside it, of this process and its workers.
"""

from __future__ import annotations

import contextlib
import cProfile
import hashlib
import os
import pstats
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What lineage does in a run, and what of a run is hashing; none of these calls another of its own list.
LINEAGE = {
    ("lineage.py", "environment"),
    ("lineage.py", "adopt"),
    ("lineage.py", "recorded_settings"),
    ("execute.py", "parent_digests"),
    ("folder.py", "write_record"),
    ("execute.py", "note_origins"),
    ("execute.py", "inputs_of"),
    ("openlineage.py", "event"),
    ("openlineage.py", "emit"),
    ("openlineage.py", "finish"),
    ("units.py", "_told"),
    ("lineage.py", "identity"),
    ("lineage.py", "read"),
}
HASHING = {("payload.py", "sha256_of"), ("payload.py", "digest_files"), ("execute.py", "weights_digest")}
N_STUDIES, N_STEPS, N_SLICES, N_COPIES = 10_000, 10, 30, 10  # a hundred thousand records, then a million
_TOKEN = re.compile(r"\b(?:2\.25\.[0-9]+|[0-9a-f]{64}|[0-9a-f]{16})\b")
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
    """The tasks of segment_and_report on the MR demo study, one after the other in this process, profiled."""
    from claimed_med import run as running

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        os.environ["CLAIMED_MED_EVENTS"] = str(place / "events.jsonl")
        words = [sys.executable, "-m", "claimed_med", "data", "make", "brain-mr"]
        given = {**os.environ, "CLAIMED_MED_DATA": str(place / "data")}
        told = subprocess.run(words, check=True, capture_output=True, text=True, env=given).stdout
        study = told.strip().splitlines()[-1]
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
        profile = cProfile.Profile(time.process_time)  # not disturbed by what else runs here
        with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):  # noqa: PTH123 - a device
            for name, *rest in tasks:
                profile.enable()
                code = running.main([name, *map(str, rest), "--out", str(place / name)])
                profile.disable()
                assert code == 0, name
        stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    total = sum(one[2] for one in stats.values())
    lineage, hashed = _seconds(stats, LINEAGE), _seconds(stats, HASHING)
    share = {"share of the time, %": round(100 * lineage / total, 2)}
    return [
        {"case": "lineage beside hashing", "CPU s": round(lineage, 3), "of": round(total, 1), **share},
        {"case": "hashing", "CPU s": round(hashed, 3), "of": round(total, 1)},
    ]


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
                ("trace of an object", lambda number: trace(store, [_renamed(_uid(N_STEPS - 1, 0), number)])),
                ("where-used of a series", lambda number: where_used(store, _renamed(_uid(0, -1), number))),
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
        words = [sys.executable, "-m", "claimed_med", "lineage", "where-used", _renamed(_uid(0, -1), 0), "--db", place]
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
    """Studies of one CT with a chain of ten runs each; the last record carries the others."""
    text = _study()
    for number in range(n_studies):
        yield number, _TOKEN.sub(lambda found, number=number: _renamed(found.group(), number), text)


def _renamed(token: str, number: int) -> str:
    """The UID or digest of another study in place of one of the first."""
    digest = hashlib.sha256(f"{token} {number}".encode()).hexdigest()
    return f"2.25.{int(digest[:32], 16)}" if token.startswith("2.25.") else digest[: len(token)]


def _study() -> str:
    from claimed_med.lineage import Record, UnitRecord, environment

    here = environment(1, "cpu") | {
        "started": "2026-01-01T00:00:00.000+00:00",
        "ended": "2026-01-01T00:00:01.000+00:00",
    }
    record = None
    for step in range(N_STEPS):
        entering = step == 0
        files = {
            f"{_uid(step, one)}.dcm": {
                "sha256": _digest(step, one),
                "sop_uid": _uid(step, one),
                "series_uid": _uid(step, -1),
                **({"patient": _digest(0, -2)[:16]} if entering else {}),
            }
            for one in range(N_SLICES if entering else 1)
        }
        inputs: dict[str, Any] = {} if record is None else {"series": {"digest": record.payload}}
        if step == 1:
            inputs["series"] |= {
                "sop_uids": [_uid(0, one) for one in range(N_SLICES)],
                "series_uids": [_uid(0, -1)],
                "patients": [_digest(0, -2)[:16]],
            }
        unit = UnitRecord("" if entering else _digest(0, -3)[:16], "done", _digest(step, -4), inputs)
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


def _seconds(stats: Any, wanted: set[tuple[str, str]]) -> float:
    return float(sum(one[3] for (file, _, name), one in stats.items() if (Path(file).name, name) in wanted))


def _measured(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU seconds of a piece of work, workers included."""
    before, started = os.times(), time.perf_counter()
    work()
    wall, after = time.perf_counter() - started, os.times()
    return wall, sum(after[:4]) - sum(before[:4])


if __name__ == "__main__":
    for one in run(int(sys.argv[1]) if len(sys.argv) > 1 else N_STUDIES):
        print(one, flush=True)
