"""Studies are sent over the network to a router that is killed again and again; a real archive tells what arrived."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pydicom import dcmread

from claimed_med.dicom.net import Node, send
from claimed_med.dicom.web import Archive
from claimed_med.services.router import STATE
from claimed_med.testing import orthanc, phantoms
from claimed_med.testing.routing import RouterProcess, Wire, data_set, wait_for
from claimed_med.testing.servers import free_port

PART = b"Content-Type: application/dicom\r\n\r\n"  # stands before every object in a STOW-RS request
RULES = """
[receiver]
aet = "ROUTER"
port = {port}

[router]
workers = 2
attempts = 1000
first_pause_s = 0.2
longest_pause_s = 1

[destination.pacs]
{place}

[[rule]]
name = "worked on"
when = 'SeriesDescription ~ "turn"'
forward = ["pacs"]
component = "normalize-orientation"
take = ["oriented"]
results = ["pacs"]
complete = {{ quiet_s = 0.5 }}

[[rule]]
name = "forwarded"
forward = ["pacs"]
complete = {{ quiet_s = 0.5, required = ['NumberOfSlices >= {n_objects}'] }}
"""


def make(folder, n_studies, n_objects):
    """StudyInstanceUID -> files; every fifth study is worked on, too."""
    values = np.random.default_rng(4).integers(-1000, 1000, (n_studies, n_objects, 64, 64)).astype(np.int16)
    made = {}
    for number, volume in enumerate(values):
        told = {"SeriesDescription": "turn" if number % 5 == 0 else "plain"}
        files = phantoms.write_series(folder / str(number), volume, name=f"kill {number}", attributes=told)
        made[str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)] = files
    return made


def altered(path, folder):
    """The same object with other pixels."""
    dataset = dcmread(path)
    dataset.PixelData = bytes(len(dataset.PixelData))
    folder.mkdir(exist_ok=True)
    dataset.save_as(folder / path.name)
    return folder / path.name


class Sender:
    """A scanner: sends each object until the router says that it has it."""

    def __init__(self, port):
        self.node = Node.parse(f"ROUTER@127.0.0.1:{port}", timeout_s=10)

    def send(self, files):
        left = list(files)
        while left:
            results = send(self.node, left, attempts=1)
            left = [one.path for one in results if one.outcome != "stored"]
            if left:
                time.sleep(0.1)


def progress(home, n_expected):
    """0: nothing happened, 1: all is received and delivered."""
    try:
        base = sqlite3.connect(home / STATE)
        try:
            (came,) = base.execute("SELECT COUNT(*) FROM objects").fetchone()
            (went,) = base.execute("SELECT COUNT(*) FROM deliveries WHERE stored_at > 0").fetchone()
        finally:
            base.close()
    except sqlite3.OperationalError:
        return 0.0
    return (came + went) / n_expected


def kill_at_random(router, n_kills, n_expected, seed):
    """Kill the router at random points between the first object and the last delivery, and start it again."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    for point in sorted(chance.uniform(0.0, 0.97) for _ in range(n_kills)):
        wait_for(lambda point=point: router.check() and progress(router.home, n_expected) >= point)
        time.sleep(chance.uniform(0.0, 0.3))
        router.kill()
        router.start()


def rest(url):
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - the archive of this test
        return json.load(answer)


def run_and_kill(tmp_path, n_studies, n_objects, n_kills, *, web=True):
    """The figures, when everything is as it must be."""
    studies = make(tmp_path / "sent", n_studies, n_objects)
    n_worked = -(-n_studies // 5)
    n_expected = n_studies * n_objects + n_worked * n_objects
    port, rules = free_port(), tmp_path / "RULES.toml"
    sender = Sender(port)
    with (
        orthanc.orthanc(tmp_path / "archive", dicom=not web) as server,
        Archive(server.dicomweb_url) as archive,
        Wire(int(server.url.rpartition(":")[2]), PART) as wire,
    ):
        node = f'node = "{server.aet}@127.0.0.1:{server.dicom_port}"'
        place = f'url = "http://127.0.0.1:{wire.port}/dicom-web"' if web else node
        rules.write_text(RULES.format(port=port, place=place, n_objects=n_objects))
        with RouterProcess(rules, tmp_path / "home", tmp_path / "log") as router, ThreadPoolExecutor(4) as pool:
            sent = [pool.submit(sender.send, files) for files in studies.values()]
            kill_at_random(router, n_kills, n_expected + n_studies * n_objects, seed=n_studies)
            for one in sent:
                one.result()
            for number, files in enumerate(studies.values()):
                if number % 10 == 0:
                    sender.send([altered(files[0], tmp_path / "altered")])
            wait_for(lambda: router.check() and router.status().get("studies", {}).get("stored") == n_studies)
            told = router.status("--all")
            assert router.stop() == 0
        assert check(archive, server, studies, n_expected) == {}
    assert {one["state"] for one in told["listed"]} == {"stored"}
    assert told["conflicts"] == -(-n_studies // 10)
    log = (tmp_path / "log").read_bytes()
    assert not [word for word in phantoms.PLANTED.values() if word.encode() in log]
    (out,) = told["deliveries"]
    assert out["objects"] == out["stored"] == n_expected
    assert n_expected * web <= wire.n_seen <= out["sends"] * web
    return {
        "studies": n_studies,
        "objects": n_expected,
        "kills": n_kills,
        "received again": told["repeats_received"],
        "objects seen on the wire to the archive": wire.n_seen,
        "of these repeats": wire.n_seen - n_expected * web,
        "repeats that the router counts": out["repeats"],
    }


def check(archive, server, studies, n_expected):
    """What is wrong in the archive."""
    wrong = {}
    for uid, files in studies.items():
        back = [data_set(path.read_bytes()) for path in archive.retrieve(uid, files[0].parent / "back")]
        missing = [path for path in files if back.count(data_set(path.read_bytes())) != 1]
        if missing:
            wrong[uid] = len(missing)
    n_there = rest(f"{server.url}/statistics")["CountInstances"]
    if n_there != n_expected or {one.study_uid for one in archive.query({})} != set(studies):
        wrong["archive"] = n_there
    return wrong


def test_a_second_router_in_the_same_folder_ends_with_a_clear_error(tmp_path):
    rules = tmp_path / "RULES.toml"
    rules.write_text(RULES.format(port=0, place='node = "A@127.0.0.1:9"', n_objects=1))
    with RouterProcess(rules, tmp_path / "home", tmp_path / "log") as router:
        wait_for(lambda: router.check() and b"listening" in (tmp_path / "log").read_bytes())
        words = [sys.executable, "-m", "claimed_med", "net", "route", str(rules), "--home", str(router.home)]
        second = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (second.returncode, second.stdout) == (3, "")
        assert "another router works in this folder" in second.stderr
        assert router.stop() == 0


def test_no_study_is_lost_when_the_router_is_killed(orthanc_installed, tmp_path):
    assert run_and_kill(tmp_path, n_studies=6, n_objects=3, n_kills=3)["kills"] == 3


@pytest.mark.slow
def test_no_study_of_fifty_is_lost_when_the_router_is_killed_ten_times(orthanc_installed, tmp_path):
    figures = run_and_kill(tmp_path, n_studies=50, n_objects=10, n_kills=10)
    print(json.dumps(figures, indent=1))
    assert figures["kills"] == 10


@pytest.mark.slow
def test_no_study_is_lost_on_the_way_to_a_dicom_node_either(orthanc_installed, tmp_path):
    figures = run_and_kill(tmp_path, n_studies=10, n_objects=5, n_kills=5, web=False)
    print(json.dumps(figures, indent=1))
    assert figures["kills"] == 5
