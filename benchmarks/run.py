"""`make bench`: measure this project and its peers in one run; results as Markdown and JSON in benchmarks/results.

    python benchmarks/run.py [--only reading,engine,pipeline,collection] [--out benchmarks/results]

Each part gives rows, {"case": ..., "who": ..., further columns}; times are medians in seconds.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HERE = Path(__file__).parent
N_SERIES = 200
_POLL_S = 0.02

sys.path.insert(0, str(HERE))


def main() -> int:
    """Run the chosen parts; 0 when all of them ran."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    results = {name: PARTS[name]() for name in arguments.only.split(",")}
    arguments.out.mkdir(parents=True, exist_ok=True)
    whole = {"machine": machine(), "results": results}
    name = "results" if set(results) == set(PARTS) else "results-" + "-".join(results)
    (arguments.out / f"{name}.json").write_text(json.dumps(whole, indent=1, default=str) + "\n", encoding="utf-8")
    text = as_markdown(whole)
    (arguments.out / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


def machine() -> dict[str, Any]:
    """Where it was measured."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def as_markdown(whole: Mapping[str, Any]) -> str:
    """All results as tables."""
    about = ", ".join(f"{name} {value}" for name, value in whole["machine"].items())
    parts = ["# Benchmarks", f"Measured with `make bench`: {about}. Times are medians in seconds."]
    for name, rows in whole["results"].items():
        parts += [f"## {name.capitalize()}", _table(rows)]
    return "\n\n".join(parts) + "\n"


def reading() -> list[dict[str, Any]]:
    """Series to volume, against the peers."""
    return _rows(importlib.import_module("bench_reading").run())


def engine() -> list[dict[str, Any]]:
    """Overhead of a task, against kfp.local."""
    return _rows(importlib.import_module("bench_engine").run())


def pipeline() -> list[dict[str, Any]]:
    """`segment_and_report` on the demo study, cold (empty cache) and again."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        environment = {"CLAIMED_MED_CACHE": str(place / "cache"), "CLAIMED_MED_DATA": str(place / "data")}
        study = _output("data", "make", "brain-mr", environment=environment)
        words = ("pipeline", "run", "segment_and_report", "--set", f"path={study}")
        for case in ("cold", "cached", "cached"):
            out = place / f"out-{len(rows)}"
            rows.append(
                {"case": case, "who": "claimed_med", **_measure(*words, "--out", str(out), environment=environment)}
            )
    cached = [row["median_s"] for row in rows if row["case"] == "cached"]
    return [rows[0], {**rows[1], "median_s": round(statistics.median(cached), 3)}]


def collection() -> list[dict[str, Any]]:
    """`segment-lungs` over a folder of many series, with one and two workers, and started again when all is done."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        _many_series(source)
        for n_workers in (1, 2):
            words = ("run", "segment-lungs", "--series", str(source), "--out", f"{folder}/out-{n_workers}")
            environment = {"CLAIMED_MED_WORKERS": str(n_workers)}
            for case in (f"{N_SERIES} series", f"{N_SERIES} series, all done before"):
                done = _measure(*words, environment=environment)
                rows.append({"case": case, "who": f"{n_workers} workers", **done})
    first = rows[0]["median_s"]
    return [{**row, "speed-up": round(first / row["median_s"], 2)} for row in rows]


def training() -> list[dict[str, Any]]:
    """A training step, against a bare loop."""
    return _rows(importlib.import_module("bench_training").run())


def explanation() -> list[dict[str, Any]]:
    """Model-agnostic explanations, against the lime package."""
    return _rows(importlib.import_module("bench_explanation").run())


def receiver() -> list[dict[str, Any]]:
    """Objects received over the DICOM network, beside Orthanc and dcmtk."""
    return _rows(importlib.import_module("bench_receiver").run())


def lineage() -> list[dict[str, Any]]:
    """Hashing, the cost of records, an index of a million of them, a trace in it."""
    return _rows(importlib.import_module("bench_lineage").run())


def deidentification() -> list[dict[str, Any]]:
    """Files de-identified a second, beside dicom-anonymizer."""
    return _rows(importlib.import_module("bench_deid").run(importlib.import_module("bench_reading").SHARED))


def serving() -> list[dict[str, Any]]:
    """A served model, over the bare model and beside other servers."""
    return _rows(importlib.import_module("bench_serving").run())


def monitoring() -> list[dict[str, Any]]:
    """Planted changes found, and false alarms."""
    return _rows(importlib.import_module("bench_monitoring").run())


PARTS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "reading": reading,
    "engine": engine,
    "pipeline": pipeline,
    "collection": collection,
    "training": training,
    "explanation": explanation,
    "receiver": receiver,
    "lineage": lineage,
    "deidentification": deidentification,
    "serving": serving,
    "monitoring": monitoring,
}


def _many_series(folder: Path) -> None:
    from claimed_med.testing import phantoms

    values = phantoms.chest_values((24, 96, 96))
    for number in range(N_SERIES):
        name = f"series {number}"
        phantoms.write_series(folder / str(number), values, spacing_mm=(10.0, 4.0, 4.0), name=name)


def _measure(*words: str, environment: Mapping[str, str]) -> dict[str, float]:
    """Wall time, and the most memory that the command and its children held at one time (shared pages counted once)."""
    command = [sys.executable, "-m", "claimed_med", *words]
    started = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=subprocess.STDOUT)
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, _memory_mib(process.pid))
            time.sleep(_POLL_S)
        wall_s = time.perf_counter() - started
        if process.returncode:
            log.seek(0)
            sys.exit(f"{' '.join(words)} ended with {process.returncode}:\n{log.read().decode()}")
    return {"median_s": round(wall_s, 3), "peak_mib": round(peak)}


def _memory_mib(pid: int) -> float:
    total = 0
    try:
        parent = psutil.Process(pid)
        for one in (parent, *parent.children(recursive=True)):
            memory = one.memory_full_info()
            total += getattr(memory, "pss", memory.rss)
    except psutil.Error:
        return 0.0
    return total / 2**20


def _output(*words: str, environment: Mapping[str, str]) -> str:
    command = [sys.executable, "-m", "claimed_med", *words]
    done = subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True, text=True)
    return done.stdout.strip().splitlines()[-1]


def _rows(found: Any) -> list[dict[str, Any]]:
    """Rows as they are, or a mapping of case to rows."""
    if isinstance(found, dict):
        return [
            {"case": case, **row}
            for case, rows in found.items()
            for row in (rows if isinstance(rows, list) else [rows])
        ]
    return list(found)


def _table(rows: list[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(str(row.get(name, '')) for name in columns)} |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
