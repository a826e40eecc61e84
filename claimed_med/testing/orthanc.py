"""Start a private Orthanc for tests: DICOMweb and DICOM on free loopback ports, its data in a folder of its own."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PLUGINS = Path("/usr/share/orthanc/plugins")
READY_S = 30.0
AET = "ORTHANC"


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc."""

    url: str
    dicom_port: int
    process: subprocess.Popen[bytes]

    @property
    def dicomweb(self) -> str:
        """Base address of its DICOMweb service."""
        return f"{self.url}/dicom-web"

    @property
    def node(self) -> str:
        """Its address on the DICOM network."""
        return f"{AET}@127.0.0.1:{self.dicom_port}"


def installed() -> bool:
    """Whether Orthanc and its DICOMweb plug-in are there."""
    return shutil.which("Orthanc") is not None and PLUGINS.is_dir()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def orthanc(folder: Path, *, modalities: dict[str, list[object]] | None = None) -> Iterator[Orthanc]:
    """Run Orthanc for the time of the block.

    Args:
        folder: For its data; another run on the same folder finds them again.
        modalities: Other nodes that it may send to: name -> [AE title, host, port].

    Raises:
        RuntimeError: It does not answer in time.
    """
    http, dicom = free_port(), free_port()
    configuration = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "HttpPort": http,
        "HttpBindAddresses": ["127.0.0.1"],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAet": AET,
        "DicomPort": dicom,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "DicomModalities": modalities or {},
        "UnknownSopClassAccepted": True,
        "OverwriteInstances": True,
        "StorageCommitmentReportsSize": 100,
        "Plugins": [str(PLUGINS)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": True},
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "orthanc.json"
    file.write_text(json.dumps(configuration), encoding="utf-8")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["Orthanc", str(file)], stdout=log, stderr=log)  # noqa: S607 - found on the path
        try:
            _wait(f"http://127.0.0.1:{http}/system", process)
            yield Orthanc(f"http://127.0.0.1:{http}", dicom, process)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=1):  # noqa: S310 - a loopback address of our own
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("Orthanc does not answer")
