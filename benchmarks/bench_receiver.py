"""Objects received a second: our receiver, Orthanc, storescp of dcmtk and of pynetdicom, in one run.

Every server gets the same files from the same sender, one after the other, three rounds, each with new UIDs. Senders
are dcmtk's storescu and pynetdicom (through our client); one association, and four at once. The two storescp do not
wait for the disk, Orthanc and we do.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydicom import dcmread

from claimed_med.dicom import net
from claimed_med.testing.orthanc import orthanc
from claimed_med.testing.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

N_FILES, N_ROUNDS = 60, 3
PEERS = ("Orthanc", "storescp", "pynetdicom storescp")
STORESCU, STORESCP = "/usr/bin/storescu", "/usr/bin/storescp"


class Server(NamedTuple):
    """Where to send, and how to count what arrived."""

    name: str
    port: int
    aet: str
    n_stored: Callable[[], int]


def run(data: Path | None = None) -> list[dict[str, Any]]:
    """Rows: sender, associations, who, objects a second, relative to the fastest peer."""
    source = (data or Path(os.environ.get("CLAIMED_MED_TEST_DATA", "../shared/data"))) / "mr_t1_ge_sag"
    times: dict[tuple[str, int, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as place, _servers(Path(place)) as servers:
        n_sent = 0
        for number in range(N_ROUNDS):
            for sender, send in (("storescu", _storescu), ("pynetdicom", _pynetdicom)):
                for n_associations in (1, 4):
                    files = _fresh(source, Path(place) / f"{number}-{sender}-{n_associations}")
                    n_sent += len(files)
                    parts = [files[one::n_associations] for one in range(n_associations)]
                    for server in servers:
                        began = time.perf_counter()
                        with ThreadPoolExecutor(n_associations) as pool:
                            list(pool.map(send, [server] * n_associations, parts))
                        seconds = time.perf_counter() - began
                        assert server.n_stored() == n_sent, f"{server.name} did not keep all"
                        times.setdefault((sender, n_associations, server.name), []).append(seconds)
    medians = {key: statistics.median(found) for key, found in times.items()}
    return [
        {
            "case": f"{sender}, {n_associations} associations",
            "who": who,
            "objects/s": round(N_FILES / seconds, 1),
            "x fastest peer": round(min(medians[sender, n_associations, peer] for peer in PEERS) / seconds, 2),
        }
        for (sender, n_associations, who), seconds in medians.items()
    ]


@contextmanager
def _servers(place: Path) -> Iterator[list[Server]]:
    ours, theirs, python = place / "ours", place / "storescp", place / "pynetdicom"
    theirs.mkdir()
    python.mkdir()
    words = [sys.executable, "-m", "claimed_med", "net", "serve", str(ours), "--port", "0", "--min-free-mib", "0"]
    port, other = free_port(), free_port()
    slow = [sys.executable, "-m", "pynetdicom", "storescp", "-q", "-aet", "PYNETDICOM", "-ba", "127.0.0.1"]
    with (
        orthanc(place / "orthanc") as archive,
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as receiver,
        subprocess.Popen([STORESCP, "-aet", "STORESCP", "+B", "-od", str(theirs), str(port)]) as storescp,
        subprocess.Popen([*slow, "-od", str(python), str(other)], stderr=subprocess.DEVNULL) as pynetdicom,
    ):
        try:
            assert receiver.stdout is not None
            listening = int(receiver.stdout.readline().split()[-1])
            yield [
                Server("claimed_med", listening, "CLAIMED_MED", lambda: sum(1 for _ in ours.glob("*/*.dcm"))),
                Server("Orthanc", archive.dicom_port, archive.aet, lambda: _count(archive.url)),
                Server("pynetdicom storescp", other, "PYNETDICOM", lambda: sum(1 for _ in python.iterdir())),
                Server("storescp", port, "STORESCP", lambda: sum(1 for _ in theirs.iterdir())),
            ]
        finally:
            receiver.terminate()
            storescp.terminate()
            pynetdicom.terminate()


def _count(url: str) -> int:
    with urllib.request.urlopen(f"{url}/statistics", timeout=60) as answer:  # noqa: S310 - our own Orthanc
        return int(json.load(answer)["CountInstances"])


def _storescu(server: Server, files: list[Path]) -> None:
    words = [STORESCU, "-aec", server.aet, "127.0.0.1", str(server.port), *map(str, files)]
    subprocess.run(words, check=True, capture_output=True)


def _pynetdicom(server: Server, files: list[Path]) -> None:
    results = net.send(net.Node("127.0.0.1", server.port, server.aet), files)
    assert {one.outcome for one in results} == {"stored"}


def _fresh(source: Path, folder: Path) -> list[Path]:
    """Copies with new UIDs."""
    folder.mkdir()
    mark = time.time_ns() % 10**10
    made = []
    for path in sorted(source.rglob("*.dcm"))[:N_FILES]:
        dataset = dcmread(path)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(dataset, keyword, f"{str(dataset[keyword].value)[:50]}.{mark}")
        dataset.SOPInstanceUID = f"2.25.{mark}.{len(made) + 1}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        made.append(folder / f"{len(made):04d}.dcm")
        dataset.save_as(made[-1])
    return made


if __name__ == "__main__":
    for row in run():
        print(row)
