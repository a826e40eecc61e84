"""The prebuilt pipeline as a user runs it: whole processes, real data, killed and started again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from claimed_med.payload import digest_files, files_below, folder_digest
from claimed_med.testing import phantoms
from claimed_med.testing.routing import wait_for

NOWHERE = subprocess.DEVNULL
pytestmark = pytest.mark.xdist_group("torch")


def command(source, out, *options):
    return [
        sys.executable, "-m", "claimed_med", "pipeline", "run", "segment_and_report",
        "--set", f"path={source}", "--set", "min_slices=1", "--out", str(out), *options,
    ]  # fmt: skip


def run(source, out, cache, *options, cores=0):
    environment = {**os.environ, "CLAIMED_MED_CACHE": str(cache)}
    if cores:
        environment["CLAIMED_MED_WORKERS"] = str(cores)
    return subprocess.run(command(source, out, *options), env=environment, capture_output=True, text=True, check=False)


def payloads(out):
    """Payload digest of every output port below a run folder."""
    ports = sorted(path.parent for path in Path(out).rglob("lineage.json"))
    return {path.relative_to(out).as_posix(): folder_digest(path) for path in ports}


def units(out, port):
    """Status -> units of the first port of that name."""
    table = json.loads(next(Path(out).rglob(f"{port}/units.json")).read_text())["units"]
    found = {}
    for unit in table:
        found.setdefault(unit["status"], []).append(unit)
    return found


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """A small mixed archive: a CD of phantoms and a head for the network."""
    folder = tmp_path_factory.mktemp("studies") / "archive"
    phantoms.collection(folder)
    phantoms.brain_mr(folder / "HEAD")
    return folder


def test_same_payloads_elsewhere_later_and_with_one_or_two_cores(studies, tmp_path):
    before = digest_files(dict(files_below(studies)))
    elsewhere = tmp_path / "moved" / "deep" / "archive"
    shutil.copytree(studies, elsewhere, copy_function=shutil.copyfile)
    first = run(studies, tmp_path / "one", tmp_path / "cache1", cores=1)
    time.sleep(1.1)
    second = run(elsewhere, tmp_path / "x" / "two", tmp_path / "cache2", cores=2)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    one, two = payloads(tmp_path / "one"), payloads(tmp_path / "x" / "two")
    assert len(one) > 15
    assert one == two
    assert digest_files(dict(files_below(studies))) == before
    assert "Traceback" not in first.stdout + first.stderr


def test_no_patient_attribute_in_any_text(studies, tmp_path):
    done = run(studies, tmp_path / "PLANTED_OUT", tmp_path / "cache")
    files = [path for path in (tmp_path / "PLANTED_OUT").rglob("*") if path.suffix in {".json", ".log", ""}]
    texts = [path.read_text() for path in files if path.is_file()]
    planted = [value for value in phantoms.PLANTED.values() if value != "19610411"]
    everything = done.stdout + "".join(texts)
    assert len(texts) > 20
    assert not [value for value in planted if value in everything]


@pytest.mark.skipif(sys.platform != "linux", reason="children are found through /proc")
def test_kill_9_leaves_no_child_and_the_next_run_finishes_without_doing_anything_twice(studies, tmp_path):
    environment = {**os.environ, "CLAIMED_MED_CACHE": str(tmp_path / "cache")}
    out = tmp_path / "out"
    process = subprocess.Popen(
        command(studies, out), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for(lambda: list(out.glob("check-quality/checked/lineage.json")))
    family = descendants(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert family
    assert wait_for(lambda: not any(alive(pid) for pid in family))
    finished = [path for task in ("load-folder", "check-quality") for path in (out / task).rglob("*.dcm")]
    kept = {path: path.stat().st_ino for path in finished}
    assert kept
    again = run(studies, out, tmp_path / "cache")
    assert again.returncode == 0, again.stderr
    assert all(path.stat().st_ino == inode for path, inode in kept.items())
    assert not [path for path in out.rglob(".*") if path.name.startswith((".partial", ".journal"))]
    fresh = run(studies, tmp_path / "fresh", tmp_path / "other cache")
    assert fresh.returncode == 0
    assert payloads(out) == payloads(tmp_path / "fresh")


@pytest.mark.skipif(sys.platform != "linux", reason="children are found through /proc")
def test_ctrl_c_stops_the_run_and_leaves_no_child(studies, tmp_path):
    environment = {**os.environ, "CLAIMED_MED_CACHE": str(tmp_path / "cache")}
    process = subprocess.Popen(
        ["env", "--default-signal=INT", *command(studies, tmp_path / "out")],  # as in a terminal, wherever tests run
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: len(descendants(process.pid)) >= 2)
    family = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Traceback" not in told
    assert wait_for(lambda: not any(alive(pid) for pid in family))


def test_real_series_come_out_as_valid_objects(data, tmp_path):
    source = tmp_path / "source"
    for name in ("mr_t1_siemens_head", "ct_head_philips_5mm", "ct_head_ge_tilt", "odd"):
        shutil.copytree(data / name, source / name, copy_function=shutil.copyfile)
    done = run(source, tmp_path / "out", tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert len(units(tmp_path / "out", "segment-brain/segmentation")["done"]) >= 1
    assert len(units(tmp_path / "out", "segment-body/segmentation")["done"]) >= 3
    refused = units(tmp_path / "out", "check-quality/checked")["quarantined"]
    tilted = [unit for unit in refused if "GantryTilt" in unit["findings"]]
    assert len(tilted) == 1
    assert "tilted by 18.5 degrees" in tilted[0]["text"]
    assert all(unit["text"] and unit["error"] == "InputError" for unit in refused)
    assert not units(tmp_path / "out", "validate-objects/validation").get("quarantined")


@pytest.mark.slow
def test_the_whole_shared_data_set_in_one_go_killed_and_started_again(data, tmp_path):
    before = digest_files(dict(files_below(data)))
    environment = {**os.environ, "CLAIMED_MED_CACHE": str(tmp_path / "cache")}
    out = tmp_path / "out"
    for pause in (15, 40, 30):
        process = subprocess.Popen(
            command(data, out), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(pause)
        process.kill()
        process.wait()
    done = run(data, out, tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    checked = units(out, "check-quality/checked")
    assert len(checked["done"]) >= 40
    assert all(unit["error"] == "InputError" for unit in checked["quarantined"])
    assert not units(out, "validate-objects/validation").get("quarantined")
    assert digest_files(dict(files_below(data))) == before


def descendants(pid):
    found = []
    try:
        children = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return found
    for child in children:
        found += [child, *descendants(child)]
    return found


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
