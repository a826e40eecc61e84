"""The local engine against kfp.local's SubprocessRunner: the same chain of ten tasks that do next to nothing.

`overhead per task` of this engine is that of a warm run: the time of a chain of forty tasks less that of a chain of
ten, by thirty, so that start-up (imports, fork server) is counted apart; kfp.local's process is warm as well.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
REPEATS = 5
SHORT, LONG = 10, 40


def run(repeat: int = REPEATS) -> list[dict[str, Any]]:
    """Measure both engines; rows."""
    os.environ["CLAIMED_MED_COMPONENTS"] = str(HERE / "components")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        chains = {length: _compiled(place, length) for length in (SHORT, LONG)}
        times: dict[str, list[float]] = {"short": [], "long": [], "cached": [], "kfp": [], "kfp warm": []}
        for number in range(repeat):
            cache = place / f"cache{number}"
            times["short"].append(_ours(chains[SHORT], place / f"s{number}", cache))
            times["cached"].append(_ours(chains[SHORT], place / f"c{number}", cache))
            times["long"].append(_ours(chains[LONG], place / f"l{number}", place / f"cache-long{number}"))
            whole, per_task = _kfp_local(place / f"k{number}")
            times["kfp"].append(whole)
            times["kfp warm"].append(per_task)
        middle = {name: statistics.median(taken) for name, taken in times.items()}
    overhead = (middle["long"] - middle["short"]) / (LONG - SHORT)
    return [
        {"case": "overhead per task, warm", "who": "claimed_med", "median_s": round(overhead, 4)},
        {
            "case": "overhead per task, warm",
            "who": "kfp.local SubprocessRunner",
            "median_s": round(middle["kfp warm"], 4),
        },
        {"case": "ten tasks, whole process", "who": "claimed_med, cold", "median_s": round(middle["short"], 3)},
        {"case": "ten tasks, whole process", "who": "claimed_med, cached", "median_s": round(middle["cached"], 3)},
        {"case": "ten tasks, whole process", "who": "kfp.local SubprocessRunner", "median_s": round(middle["kfp"], 3)},
    ]


def _compiled(place: Path, length: int) -> Path:
    from kfp import compiler, components, dsl

    from claimed_med import registry
    from claimed_med.targets.kfp import render

    start, step = (
        components.load_component_from_text(render(registry.get(name).contract))
        for name in ("start-table", "pass-table")
    )

    @dsl.pipeline(name="chain")
    def chain():  # noqa: ANN202 - kfp takes an annotation for an output
        last = start(seed=1).outputs["started"]
        for number in range(length - 1):
            last = step(report=last, step=number).outputs["passed"]

    path = place / f"chain{length}.yaml"
    compiler.Compiler().compile(chain, str(path))
    return path


def _ours(chain: Path, out: Path, cache: Path) -> float:
    words = [sys.executable, "-m", "claimed_med", "pipeline", "run", str(chain), "--out", str(out)]
    started = time.perf_counter()
    subprocess.run(words, check=True, capture_output=True, env={**os.environ, "CLAIMED_MED_CACHE": str(cache)})
    return time.perf_counter() - started


_KFP = """
import time, logging, sys
started = time.perf_counter()
from kfp import dsl, local
logging.disable(logging.CRITICAL)
local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[1], raise_on_error=True)

@dsl.component
def start(seed: int, report: dsl.Output[dsl.Artifact]):
    open(report.path, "w").write(str(seed))

@dsl.component
def step(report: dsl.Input[dsl.Artifact], number: int, passed: dsl.Output[dsl.Artifact]):
    open(passed.path, "w").write(open(report.path).read() + str(number))

@dsl.pipeline
def chain():
    last = start(seed=1).outputs["report"]
    for number in range(9):
        last = step(report=last, number=number).outputs["passed"]

warm = time.perf_counter()
chain()
ended = time.perf_counter()
print("TIMES", ended - started, (ended - warm) / 10)
"""


def _kfp_local(place: Path) -> tuple[float, float]:
    place.mkdir()
    script = place / "chain.py"
    script.write_text(_KFP)
    started = time.perf_counter()
    words = [sys.executable, "-W", "ignore", str(script), str(place / "root")]
    done = subprocess.run(words, check=True, capture_output=True, text=True, cwd=place)
    told = next(line for line in done.stdout.splitlines() if line.startswith("TIMES")).split()
    return time.perf_counter() - started, float(told[2])


if __name__ == "__main__":
    for one in run():
        print(one)
