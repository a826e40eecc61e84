"""Files of a port folder: list, copy, digest, and write all or nothing. Standard library only."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimed_med.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LINEAGE = "lineage.json"
UNITS = "units.json"
VOLUME = "volume.json"
PARTIAL = ".partial-"
_CHUNK = 1 << 20
_FICLONE = 0x40049409
_IN_THE_WAY = frozenset({errno.ENOTEMPTY, errno.EEXIST})


def files_below(folder: Path) -> dict[str, Path]:
    """All files below a folder: relative POSIX name -> path, sorted; hidden working files are left out.

    Raises:
        InputError: The folder does not exist.
    """
    if not folder.is_dir():
        raise InputError("folder", "does not exist", do="check the path that was given")
    found: dict[str, Path] = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(PARTIAL))
        base = Path(parent)
        for name in names:
            if not name.startswith("."):
                path = base / name
                found[path.relative_to(folder).as_posix()] = path
    return dict(sorted(found.items()))


def sha256_of(content: Path | bytes) -> str:
    """The sha256 of a file or of bytes, in hex."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_files(entries: Mapping[str, Path | bytes]) -> dict[str, str]:
    """The sha256 of every entry, hashed on a few threads (hashing releases the interpreter lock)."""
    names = sorted(entries)
    if len(names) < 8:
        return {name: sha256_of(entries[name]) for name in names}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return dict(zip(names, pool.map(sha256_of, (entries[name] for name in names)), strict=True))


def payload_digest(digests: Mapping[str, str]) -> str:
    """The digest of a payload: sha256 over its sorted (relative name, sha256), `lineage.json` left out."""
    lines = "".join(f"{name}\0{digest}\n" for name, digest in sorted(digests.items()) if name != LINEAGE)
    return hashlib.sha256(lines.encode()).hexdigest()


def folder_digest(folder: Path) -> str:
    """The payload digest of a folder, or of a single file."""
    entries = {folder.name: folder} if folder.is_file() else files_below(folder)
    return payload_digest(digest_files(entries))


def copy_file(source: Path, target: Path) -> None:
    """Copy a file, as a reflink where the file system can; never a link to the source."""
    with source.open("rb") as reader, target.open("wb") as writer:
        if sys.platform == "linux" and _reflink(reader.fileno(), writer.fileno()):
            return
        shutil.copyfileobj(reader, writer, _CHUNK)


def _reflink(source: int, target: int) -> bool:
    import fcntl

    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def value_text(value: Any) -> str:
    """A value output as the text of its file; the same on every engine, byte for byte."""
    return json.dumps(value) if isinstance(value, list | bool) else str(value)


def value_place(folder: Path, port: str, name: str) -> Path | None:
    """Where the value `name` of a run lies when it lies beside the folder of `port`; None when nobody can say.

    `out/selected` and `out/n_selected`; a CWL runner collects `step.selected` and `step.n_selected`.
    """
    if not (folder.name.endswith(port) and name.isidentifier()):
        return None
    return folder.with_name(folder.name.removesuffix(port) + name)


@contextmanager
def replace_folder(target: Path) -> Iterator[Path]:
    """Fill a hidden folder beside `target`; it takes the name only when the block ends well."""
    partial = target.parent / f"{PARTIAL}{target.name}-{_who()}"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        move_into_place(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def move_into_place(partial: Path, target: Path) -> None:
    """Rename a finished folder to `target`; what is there is removed first, also what another writer puts there."""
    old, is_done = target.parent / f"{PARTIAL}old-{target.name}-{_who()}", False
    while not is_done:
        if target.is_dir():
            with suppress(FileNotFoundError):  # another writer has just taken it away
                target.rename(old)
        try:
            partial.rename(target)
            is_done = True
        except OSError as error:
            if error.errno not in _IN_THE_WAY:
                raise
        if old.is_dir():
            shutil.rmtree(old)


def write_atomic(path: Path, text: str) -> None:
    """Write a text file all or nothing."""
    partial = path.with_name(f"{PARTIAL}{path.name}-{_who()}")
    with partial.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)


def _who() -> str:
    """Names this thread of this process, so that two writers never share a working file."""
    return f"{os.getpid()}-{threading.get_ident()}"
