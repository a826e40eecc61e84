"""A real archive for tests: Debian's Orthanc with its DICOMweb plug-in, on free ports of this machine.

Its web port is bound to 127.0.0.1. Its DICOM port cannot be: Orthanc 1.10 listens on every interface, so it is opened
only where it is asked for.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimed_med.errors import EngineError, MissingDependencyError
from claimed_med.testing.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REQUIRED = "CLAIMED_MED_REQUIRE_SERVERS"
ABSENT = "Orthanc is absent (apt-get install orthanc orthanc-dicomweb orthanc-gdcm)"
_PLUGINS = Path("/usr/share/orthanc/plugins")
_DICOMWEB, _GDCM = _PLUGINS / "libOrthancDicomWeb.so", _PLUGINS / "libOrthancGdcm.so"
_READY_S, _STOP_S, _POLL_S = 60.0, 10.0, 0.1
_HOST = "127.0.0.1"


@dataclass(frozen=True)
class Orthanc:
    """A running archive.

    Attributes:
        url: Of its REST interface, `http://127.0.0.1:PORT`.
        dicomweb_url: Of its DICOMweb service.
        dicom_port: Of its storage, query and retrieve SCP; 0 when that is closed.
        aet: Its AE title.
        pid: Of its process.
    """

    url: str
    dicomweb_url: str
    dicom_port: int
    aet: str
    pid: int


def installed() -> bool:
    """Whether Orthanc and its DICOMweb plug-in are on this machine."""
    return shutil.which("Orthanc") is not None and _DICOMWEB.is_file()


def require_installed() -> None:
    """For pytest fixtures: skip where Orthanc is absent; fail where CLAIMED_MED_REQUIRE_SERVERS=1."""
    if installed():
        return
    import pytest

    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{REQUIRED}=1, but {ABSENT}")
    pytest.skip(ABSENT)


@contextlib.contextmanager
def orthanc(
    folder: Path,
    *,
    dicom: bool = True,
    port: int = 0,
    aet: str = "ORTHANC",
    modalities: Mapping[str, int] | None = None,
) -> Iterator[Orthanc]:
    """Start an archive that keeps its data in `folder`, and stop it at the end of the block.

    Started again on the same folder, it holds what it held before.

    Args:
        folder: Made when it is not there.
        dicom: Whether the DICOM port is open (on every interface of this machine).
        port: Of the REST interface; 0 for any free one.
        aet: AE title.
        modalities: AE title -> port on 127.0.0.1, for C-MOVE.

    Raises:
        MissingDependencyError: Orthanc is not installed.
        EngineError: It does not start.
    """
    program = shutil.which("Orthanc")
    if program is None or not installed():
        raise MissingDependencyError("orthanc", "is not installed", do="apt-get install orthanc orthanc-dicomweb")
    folder.mkdir(parents=True, exist_ok=True)
    web_port, dicom_port = port or free_port(), free_port() if dicom else 0
    file = folder / "orthanc.json"
    file.write_text(json.dumps(_configuration(folder, web_port, dicom_port, aet, modalities or {}), indent=1))
    with (folder / "orthanc.log").open("ab") as log:
        process = subprocess.Popen([program, str(file)], stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=folder)
    try:
        _wait(process, web_port)
        url = f"http://{_HOST}:{web_port}"
        yield Orthanc(url, f"{url}/dicom-web", dicom_port, aet, process.pid)
    finally:
        _stop(process)


def _configuration(folder: Path, port: int, dicom_port: int, aet: str, modalities: Mapping[str, int]) -> dict[str, Any]:
    storage = str(folder / "storage")
    return {
        "Name": "claimed-med tests",
        "StorageDirectory": storage,
        "IndexDirectory": storage,
        "HttpPort": port,
        "HttpBindAddresses": [_HOST],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomServerEnabled": bool(dicom_port),
        "DicomAet": aet,
        "DicomPort": dicom_port or 4242,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "DicomModalities": {name: [name, _HOST, number] for name, number in modalities.items()},
        "UnknownSopClassAccepted": True,
        "OverwriteInstances": True,
        "Plugins": [str(one) for one in (_DICOMWEB, _GDCM) if one.is_file()],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": True},
    }


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + _READY_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise EngineError("orthanc", "ended while it started", got=f"exit code {process.returncode}")
        connection = http.client.HTTPConnection(_HOST, port, timeout=5)
        try:
            connection.request("GET", "/system")
            if connection.getresponse().status == http.client.OK:
                return
        except (OSError, http.client.HTTPException):
            time.sleep(_POLL_S)
        finally:
            connection.close()
    raise EngineError("orthanc", "does not answer", got=f"nothing in {_READY_S:g} s")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
