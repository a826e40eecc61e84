"""Fetch files of public data sets: resumed where a connection broke, checked by pooch, unpacked safely.

`CLAIMED_MED_MIRROR` puts another place in front of every URL: a folder, or a loopback or intranet address, that holds
the files under `<host>/<path>` as the URLs name them.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from claimed_med.errors import OutputError
from claimed_med.payload import PARTIAL

MIRROR = "CLAIMED_MED_MIRROR"
_CHUNK = 1 << 20
_TRIES = 4
_TIMEOUT_S = 60


def retrieve(name: str, url: str, checksum: str, target: Path, progress: Callable[[int, int], None]) -> None:
    """Fetch one file.

    A file that was fetched in part goes on where it stopped, also in another run; the last byte is followed by the
    check, and only a file that passes it gets its name.

    Args:
        name: Of the data set, for errors.
        url: Where the file is.
        checksum: Of its content, `sha256:...` or `md5:...`.
        target: Where it goes; a hidden file beside it holds what has come so far.
        progress: Called with bytes so far, and bytes in all (0 when unknown).

    Raises:
        OutputError: The file could not be fetched, or is not the one that was expected.
    """
    import pooch

    partial = target.with_name(f"{PARTIAL}{target.name}")
    target.parent.mkdir(parents=True, exist_ok=True)

    def download(address: str, output: str, _: Any) -> None:
        source = mirrored(address)
        if isinstance(source, Path):
            _copy(name, source, partial)
        else:
            _download(name, source, partial, progress)
        partial.replace(output)

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        pooch.retrieve(url, checksum, target.name, target.parent, downloader=download)
    except ValueError:
        raise OutputError(
            "data",
            f"{target.name} of {name} is not the file that the card describes",
            allowed=checksum.replace(":", " "),
            do="do not use it; tell us, the source has changed",
        ) from None
    finally:
        logger.setLevel(level)


def mirrored(url: str) -> str | Path:
    """The URL, or where the mirror holds it."""
    mirror = os.environ.get(MIRROR, "")
    if not mirror:
        return url
    parts = urlsplit(url)
    below = f"{parts.netloc}{parts.path}"
    return f"{mirror.rstrip('/')}/{below}" if "://" in mirror else Path(mirror) / below


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into a folder and remove it; nothing leaves the folder.

    Raises:
        OutputError: The archive is damaged, or holds a name that points elsewhere.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                for member in opened.infolist():
                    _require_inside(folder, member.filename)
                opened.extractall(folder)  # noqa: S202 - every name was checked
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as opened_tar:
                opened_tar.extractall(folder, filter="data")
        else:
            return
    except (tarfile.TarError, zipfile.BadZipFile, OSError) as error:
        raise OutputError("data", "the archive cannot be unpacked safely", got=type(error).__name__) from None
    archive.unlink()


def _require_inside(folder: Path, name: str) -> None:
    if not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise OutputError("data", "the archive holds a name that points out of its folder", do="do not use it")


def _copy(name: str, source: Path, partial: Path) -> None:
    if not source.is_file():
        raise OutputError("data", f"the mirror has no {source.name} of {name}", do=f"check {MIRROR}")
    shutil.copyfile(source, partial)


def _download(name: str, url: str, partial: Path, progress: Callable[[int, int], None]) -> None:
    if urlsplit(url).scheme not in {"http", "https"}:
        raise OutputError("data", "only http and https can be fetched", got=urlsplit(url).scheme)
    error = ""
    for _ in range(_TRIES):
        try:
            if _continued(url, partial, progress):
                return
            error = "the connection broke"
        except urllib.error.HTTPError as told:
            error = f"HTTP {told.code}"
            if 400 <= told.code < 500 and told.code != 416:
                break
            if told.code == 416:
                partial.unlink(missing_ok=True)
        except OSError as told:
            error = type(told).__name__
    raise OutputError(
        "data", f"{partial.name.removeprefix(PARTIAL)} of {name} could not be fetched", got=error,
        do="check the connection and run the same command again: it goes on where it stopped",
    )  # fmt: skip


def _continued(url: str, partial: Path, progress: Callable[[int, int], None]) -> bool:
    """Ask for what is missing and append it; whether all has come."""
    have = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310 - http(s) only, checked above
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - as above
        resumed = answer.status == 206
        have = have if resumed else 0
        length = int(answer.headers.get("Content-Length") or 0)
        whole = have + length if length else 0
        with partial.open("ab" if resumed else "wb") as stream:
            while chunk := answer.read(_CHUNK):
                stream.write(chunk)
                have += len(chunk)
                progress(have, whole)
    return not whole or have == whole
