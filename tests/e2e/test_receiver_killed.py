"""The receiver is killed in the middle, again and again, while senders go on: nothing is lost, every file is whole."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pydicom import dcmread

from claimed_med.dicom import net
from claimed_med.testing.phantoms import write_series
from claimed_med.testing.servers import free_port


class Killed:
    """`claimed-med net serve`, started again whenever it is killed."""

    def __init__(self, folder, port):
        self.folder, self.port, self.n_there = folder, port, []
        self.process = self._started()

    def _started(self):
        words = [sys.executable, "-m", "claimed_med", "net", "serve", str(self.folder), "--port", str(self.port)]
        process = subprocess.Popen(
            [*words, "--min-free-mib", "1"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert "listening" in process.stdout.readline()
        return process

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.n_there.append(self.n_files())
        self.process = self._started()

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()
        return self.process.returncode

    def n_files(self):
        return sum(1 for _ in self.folder.glob("*/*.dcm"))


def body_of(path):
    content = path.read_bytes()
    return content[144 + int.from_bytes(content[140:144], "little") :]


def series(tmp_path, n_senders, n_each):
    """Files of each sender, every one with pixels of its own."""
    values = np.random.default_rng(0)
    return [
        write_series(
            tmp_path / f"from{sender}", values.integers(0, 900, (n_each, 96, 96)).astype(np.uint16), name=str(sender)
        )
        for sender in range(n_senders)
    ]


def killing(server, n_kills, n_files, done):
    """Kill the server each time that another part of the objects is there."""
    for number in range(1, n_kills + 1):
        while server.n_files() < n_files * number / (n_kills + 1) and not done.is_set():
            time.sleep(0.002)
        server.kill()


def run(tmp_path, n_senders, n_each, n_kills):
    """Send while killing; the number of files afterwards, each of which is the one that was sent."""
    sources = series(tmp_path, n_senders, n_each)
    server, done = Killed(tmp_path / "in", free_port()), threading.Event()
    node = net.Node("127.0.0.1", server.port, "CLAIMED_MED", timeout_s=30)
    killer = threading.Thread(target=killing, args=(server, n_kills, n_senders * n_each, done))
    killer.start()

    def send(paths):
        sent = itertools.count(1)

        def keep_the_last(_):
            if next(sent) == n_each - 1:  # so that every kill is in the middle, however late the killer is
                killer.join()

        return net.send(node, paths, attempts=10, pause_s=0.2, each=keep_the_last)

    try:
        with ThreadPoolExecutor(n_senders) as senders:
            results = list(senders.map(send, sources))
    finally:
        done.set()
        killer.join()
        code = server.stop()
    assert len(server.n_there) == n_kills
    assert all(0 < n_files < n_senders * n_each for n_files in server.n_there)  # every time in the middle
    assert code == 0
    assert {one.outcome for sent in results for one in sent} == {"stored"}
    expected = {str(dcmread(path).SOPInstanceUID): body_of(path) for paths in sources for path in paths}
    received = list((tmp_path / "in").glob("*/*"))
    assert {path.name.removesuffix(".dcm"): body_of(path) for path in received} == expected
    return len(received)


def test_nothing_is_lost_when_the_receiver_is_killed_twice(tmp_path):
    assert run(tmp_path, n_senders=4, n_each=20, n_kills=2) == 80


@pytest.mark.slow
def test_nothing_is_lost_of_a_thousand_when_the_receiver_is_killed_five_times(tmp_path):
    assert run(tmp_path, n_senders=8, n_each=125, n_kills=5) == 1000
