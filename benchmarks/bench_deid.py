"""Files de-identified a second, beside dicom-anonymizer, in the same run: 600 real MR files, no look at pixels.

Both read a file, change it and write it. Start-up (interpreter, libraries, tables, one file) is a row of its own and in
no other: the loops run in a process that has de-identified a file before.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

N_COPIES = 5
N_ROUNDS = 3
PEERS = {
    "claimed_med": "_ours_alone",
    "dicom-anonymizer": "_peer",
}
PROFILE = """
name = "research without pixels"
options = [
    "retain_safe_private", "retain_patient_characteristics", "retain_longitudinal_modified_dates",
    "clean_descriptors", "clean_structured_content", "clean_graphics",
]
max_shift_days = 1825
pixels = "never"
"""


def run(data: Path) -> list[dict[str, Any]]:
    """Rows: who, files a second, relative to dicom-anonymizer and to one core."""
    os.environ.setdefault("CLAIMED_MED_SECRET", "a secret of more than sixteen bytes")
    with tempfile.TemporaryDirectory() as place:
        files = _copies(data / "mr_t1_ge_sag", Path(place) / "in")
        loops: dict[str, Callable[[Path], object]] = {
            "claimed_med, 1 core": lambda out: _ours(files, out, 1),
            "claimed_med, 2 cores": lambda out: _ours(files, out, 2),
            "dicom-anonymizer, 1 core": lambda out: _peer(files, out),
        }
        for who, only in (("ours", _ours_alone), ("peer", _peer)):
            (Path(place) / who).mkdir()
            only(files[:1], Path(place) / who)
        times: dict[str, list[float]] = {who: [] for who in loops}
        for number in range(N_ROUNDS):
            for who, loop in loops.items():
                out = Path(place) / f"out-{number}-{len(times[who])}-{who[:3]}{who[-7]}"
                out.mkdir()
                started = time.perf_counter()
                loop(out)
                times[who].append(time.perf_counter() - started)
                assert len(list(out.iterdir())) == len(files)
                shutil.rmtree(out)
        started_up = {
            who: statistics.median(_start_up(who, files[0], Path(place)) for _ in range(N_ROUNDS)) for who in PEERS
        }
    medians = {who: statistics.median(found) for who, found in times.items()}
    one, peer = medians["claimed_med, 1 core"], medians["dicom-anonymizer, 1 core"]
    return [
        {
            "who": who,
            "files": len(files),
            "files/s": round(len(files) / seconds, 1),
            "x dicom-anonymizer": round(peer / seconds, 2),
            "x our 1 core": round(one / seconds, 2) if who.startswith("claimed") else None,
        }
        for who, seconds in medians.items()
    ] + [{"who": f"{who}, start-up and one file", "seconds": round(taken, 2)} for who, taken in started_up.items()]


def _start_up(who: str, file: Path, place: Path) -> float:
    """Wall time of a new process that de-identifies one file."""
    out = Path(tempfile.mkdtemp(dir=place))
    file_and_out = "[Path(sys.argv[1])], Path(sys.argv[2])"
    code = f"from pathlib import Path; import bench_deid, sys; bench_deid.{PEERS[who]}({file_and_out})"
    given = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, str(file), str(out)], check=True, capture_output=True, env=given)
    taken = time.perf_counter() - started
    assert len(list(out.iterdir())) == 1
    return taken


def _ours(files: list[Path], out: Path, n_workers: int) -> object:
    from claimed_med.dicom.deid_files import deidentify_files

    os.environ["CLAIMED_MED_WORKERS"] = str(n_workers)
    return deidentify_files(files, PROFILE, out)


def _ours_alone(files: list[Path], out: Path) -> object:
    return _ours(files, out, 1)


def _peer(files: list[Path], out: Path) -> None:
    from dicomanonymizer import anonymize_dicom_file

    for path in files:
        anonymize_dicom_file(str(path), str(out / path.name))


def _copies(source: Path, target: Path) -> list[Path]:
    """The same files several times, each time as another study of the same patient."""
    from pydicom import dcmread

    target.mkdir()
    made = []
    for number in range(N_COPIES):
        for path in sorted(source.rglob("*.dcm")):
            dataset = dcmread(path)
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
                setattr(dataset, keyword, f"{str(dataset[keyword].value)[:58]}.{number + 1}")
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            made.append(target / f"{len(made):04d}.dcm")
            dataset.save_as(made[-1])
    return made


if __name__ == "__main__":
    for row in run(Path(os.environ.get("CLAIMED_MED_TEST_DATA", "../shared/data"))):
        print(row)
