"""Series to volume, findings included: this project and its peers, alternating in one process per case.

Each reader gets the folder and gives an array in memory (dcm2niix writes a file: it is timed as a whole process, to a
folder in memory where the system has one). `plain files` reads the bytes only: the floor. Times are medians after one
unmeasured round; a peer that fails on a case is listed with its error. Peak memory is that of a fresh process.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SHARED = Path(os.environ.get("CLAIMED_MED_TEST_DATA", "") or Path(__file__).parent.parent.parent / "shared" / "data")
REPEATS = 5
SYNTAXES = {"JPEG-LS": "1.2.840.10008.1.2.4.80", "JPEG 2000": "1.2.840.10008.1.2.4.90"}
REAL = {"CT head 28 x 512 x 512": "ct_head_philips_5mm", "MR head 35 x 256 x 256": "mr_t1_siemens_head"}
REAL["CT body 20 x 512 x 512, JPEG 2000"] = "ct_body_siemens_j2k"


def ours(folder: Path) -> Any:
    """This project, all cores: findings, exact geometry, real units."""
    import claimed_med as cm

    return cm.DicomSeries(folder).load().volume().array


def on_one_core(reader: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """The same reader, held to one core: decoders with threads of their own too."""

    def pinned(folder: Path) -> Any:
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(before)})
        try:
            return reader(folder)
        finally:
            os.sched_setaffinity(0, before)

    return pinned


def plain_files(folder: Path) -> Any:
    """Reading the bytes: the floor."""
    return sum(len(path.read_bytes()) for path in folder.iterdir())


def plain_pydicom(folder: Path) -> Any:
    """What people write by hand: sort by position, stack, rescale."""
    import pydicom

    found = sorted((pydicom.dcmread(path) for path in folder.iterdir()), key=lambda one: one.ImagePositionPatient[2])
    return np.stack(
        [one.pixel_array * float(one.get("RescaleSlope", 1)) + float(one.get("RescaleIntercept", 0)) for one in found]
    )


def simpleitk(folder: Path) -> Any:
    """SimpleITK's series reader."""
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return SimpleITK.GetArrayViewFromImage(reader.Execute())


def highdicom(folder: Path) -> Any:
    """Highdicom's volume of a series."""
    import highdicom as hd
    import pydicom

    return hd.get_volume_from_series([pydicom.dcmread(path) for path in folder.iterdir()]).array


def monai_itk(folder: Path) -> Any:
    """MONAI's ITKReader."""
    from monai.data import ITKReader

    reader = ITKReader()
    return reader.get_data(reader.read(str(folder)))[0]


def monai_pydicom(folder: Path) -> Any:
    """MONAI's PydicomReader."""
    from monai.data import PydicomReader

    reader = PydicomReader()
    return reader.get_data(reader.read(str(folder)))[0]


def dicom2nifti(folder: Path) -> Any:
    """dicom2nifti, in memory."""
    import dicom2nifti as converter

    found = converter.dicom_series_to_nifti(str(folder), None, reorient_nifti=False)
    return found["NII"].get_fdata(dtype=np.float32)


def dcm2niix(folder: Path) -> Any:
    """dcm2niix, uncompressed, as a process."""
    import dcm2niix as wheel

    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a folder in memory, not a file name
    with tempfile.TemporaryDirectory(dir=memory) as out:
        words = [str(wheel.bin), "-z", "n", "-b", "n", "-v", "0", "-o", out, "-f", "volume", str(folder)]
        subprocess.run(words, check=True, capture_output=True)
        files = list(Path(out).glob("*.nii"))
        if not files:
            raise ValueError("wrote nothing")
        return files[0].stat().st_size


READERS: dict[str, Callable[[Path], Any]] = {
    "claimed_med": ours,
    "dcm2niix": dcm2niix,
    "SimpleITK": simpleitk,
    "plain pydicom": plain_pydicom,
    "highdicom": highdicom,
    "dicom2nifti": dicom2nifti,
    "MONAI ITKReader": monai_itk,
    "MONAI PydicomReader": monai_pydicom,
    "plain files": plain_files,
}
ONE_CORE = ("claimed_med", "SimpleITK", "plain pydicom")
if hasattr(os, "sched_setaffinity"):
    READERS |= {f"{name}, 1 core": on_one_core(READERS[name]) for name in ONE_CORE}


def run(repeat: int = REPEATS) -> list[dict[str, Any]]:
    """Measure every reader on every case; rows with the median and the ratio to this project."""
    warnings.simplefilter("ignore")
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for case, folder in _cases(Path(place)).items():
            times = _alternating(folder, repeat)
            base = statistics.median(times["claimed_med"])
            for name, taken in times.items():
                rows.append(_row(case, name, taken, base))
        rows += _memory(Path(place) / "native")
    return rows


def _row(case: str, name: str, taken: list[float] | str, base: float) -> dict[str, Any]:
    if isinstance(taken, str):
        return {"case": case, "who": name, "median_s": taken}
    median = statistics.median(taken)
    return {"case": case, "who": name, "median_s": round(median, 3), "ratio": round(median / base, 2)}


def _cases(place: Path) -> dict[str, Path]:
    from claimed_med.testing.phantoms import write_series

    values = _body((300, 512, 512))
    spacing = (1.0, 0.7, 0.7)
    cases = {"300 x 512 x 512 uncompressed": place / "native"}
    write_series(place / "native", values, spacing_mm=spacing, name="native", intercept=-1024)
    for name, syntax in SYNTAXES.items():
        cases[f"100 x 512 x 512 {name}"] = place / syntax
        write_series(place / syntax, values[100:200], spacing_mm=spacing, name=name, intercept=-1024, syntax=syntax)
    cases |= {name: SHARED / folder for name, folder in REAL.items() if (SHARED / folder).is_dir()}
    return cases


def _body(shape: tuple[int, int, int]) -> Any:
    """Stored values of a body with the noise of a CT: compresses as real images do."""
    from claimed_med.testing.phantoms import chest_values

    return np.asarray(chest_values(shape) + 1024, np.int16)


def _alternating(folder: Path, repeat: int) -> dict[str, Any]:
    times: dict[str, Any] = {name: [] for name in READERS}
    for number in range(repeat + 1):
        for name, reader in READERS.items():
            if isinstance(times[name], str):
                continue
            started = time.perf_counter()
            try:
                reader(folder)
            except Exception as error:  # noqa: BLE001 - a peer that fails is a result
                times[name] = f"fails: {type(error).__name__}"
                continue
            if number:
                times[name].append(time.perf_counter() - started)
    return times


def _memory(folder: Path) -> list[dict[str, Any]]:
    rows = []
    for name in READERS:
        if name in {"plain files", "dcm2niix"} or name.endswith("1 core"):
            continue
        code = (
            f"import sys, pathlib; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            "import bench_reading as b\n"
            f"b.READERS[{name!r}](pathlib.Path({str(folder)!r}))\n"
            "print([int(line.split()[1]) // 1024 for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"
        )
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
        peak = done.stdout.split()[-1] if done.returncode == 0 and done.stdout.split() else "fails"
        rows.append({"case": "peak memory, 300 x 512 x 512", "who": name, "peak_mib": peak})
    return rows


if __name__ == "__main__":
    for one in run():
        print(one)
