"""Places outside of this machine (s3://, https:// ...) as folders on it, for the time of a process. Stdlib at the top.

Credentials come from the environment, as the client of each place reads them; addresses are never recorded.
"""

from __future__ import annotations

import atexit
import functools
import logging
import shutil
import tempfile
from pathlib import Path

from claimed_med.errors import InputError, require

_EXTRA = "remote"


def is_remote(location: str) -> bool:
    """Whether a location is an address and not a path."""
    return "://" in location and not location.startswith("file://")


@functools.cache
def local_copy(location: str) -> Path:
    """Everything below an address, copied into a folder that lives as long as this process.

    Args:
        location: `s3://bucket/prefix`, `https://host/file`, or any other address that fsspec knows.

    Returns:
        The folder.

    Raises:
        MissingDependencyError: The client of this kind of address is not installed.
        InputError: There is nothing, or it cannot be read; the address is not repeated.
    """
    fsspec = require("fsspec", _EXTRA)
    protocol = location.split("://", 1)[0]
    folder = Path(tempfile.mkdtemp(prefix="claimed-med-remote-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        system, path = fsspec.core.url_to_fs(location)
    except ImportError:
        require({"s3": "s3fs", "http": "aiohttp", "https": "aiohttp"}.get(protocol, protocol), _EXTRA)
        raise
    except ValueError:
        raise InputError(
            "location", "the kind of address is not known", got=protocol, allowed="s3, http, https"
        ) from None
    logging.getLogger("s3fs").setLevel(logging.CRITICAL)
    try:
        if protocol in {"http", "https"}:
            target = folder / "object"
            system.get_file(path, str(target))
        else:
            files = system.find(path)
            for number, file in enumerate(sorted(files)):
                system.get_file(file, str(folder / f"{number:08d}"))
    except Exception as error:  # noqa: BLE001 - each client has errors of its own, and they repeat the address
        raise InputError(
            "location",
            "the place cannot be read",
            got=type(error).__name__,
            do="check address, network and credentials",
        ) from None
    if not any(folder.iterdir()):
        raise InputError("location", "there is nothing at this address", do="check it")
    return folder
