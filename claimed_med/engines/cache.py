"""A content-addressed cache of finished tasks: an entry is found by what went in, and checked by what came out."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimed_med import lineage
from claimed_med.engines.code import code_digest
from claimed_med.errors import EngineError
from claimed_med.payload import files_below, folder_digest, move_into_place, payload_digest, replace_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claimed_med.component import Component

ENVIRONMENT = "CLAIMED_MED_CACHE"
_SCHEMA = 1
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """A finished task.

    Attributes:
        folder: Where its outputs are kept.
        digests: Output port -> payload digest.
        values: Value output -> text.
    """

    folder: Path
    digests: dict[str, str]
    values: dict[str, str]


def default_folder() -> Path:
    """CLAIMED_MED_CACHE, or the user's cache folder."""
    given = os.environ.get(ENVIRONMENT, "")
    return Path(given) if given else Path.home() / ".cache" / "claimed_med"


class Cache:
    """The cache in one folder; safe for several runs at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def key(
        self, component: Component, settings: Mapping[str, Any], inputs: Mapping[str, str], locations: Mapping[str, str]
    ) -> str:
        """The key of a task: its identity (weights by their package), its code and its packages.

        Args:
            component: What is run.
            settings: All of them.
            inputs: Input port -> payload digest of the whole port.
            locations: Location setting -> content digest.
        """
        contract = component.contract
        identity = lineage.identity(contract, settings, inputs, contract.weights, locations)
        code = code_digest(component, self.folder / "modules.json")
        return hashlib.sha256(f"{_SCHEMA} {identity} {code}".encode()).hexdigest()

    def find(self, key: str) -> Entry | None:
        """The entry of that key, or None."""
        folder = self._place(key)
        try:
            told = json.loads((folder / "entry.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return Entry(folder, told["digests"], told["values"])

    def store(self, key: str, ports: Mapping[str, Path], values: Mapping[str, str]) -> Entry:
        """Keep the outputs of a finished task.

        Args:
            key: Of the task.
            ports: Output port -> folder.
            values: Value output -> text.
        """
        place = self._place(key)
        digests = {port: digest_of(folder) for port, folder in ports.items()}
        with replace_folder(place) as partial:
            for port, folder in ports.items():
                shutil.copytree(folder, partial / port, symlinks=True)  # a link is never followed
            (partial / "entry.json").write_text(json.dumps({"digests": digests, "values": dict(values)}))
        return Entry(place, digests, dict(values))

    def restore(self, entry: Entry, ports: Mapping[str, Path]) -> bool:
        """Copy an entry's outputs to their places; False (and the entry is gone) when it was damaged.

        Every byte is hashed on the way: what is restored is what was stored.
        """
        for port, target in ports.items():
            if target.is_dir() and _holds(target, entry.digests[port]):
                continue
            partial = target.parent / f".partial-{target.name}-{os.getpid()}"
            shutil.rmtree(partial, ignore_errors=True)
            try:
                if _copy_hashed(entry.folder / port, partial) != entry.digests[port]:
                    shutil.rmtree(entry.folder, ignore_errors=True)
                    return False
                move_into_place(partial, target)
            except OSError:
                shutil.rmtree(entry.folder, ignore_errors=True)
                return False
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        return True

    def _place(self, key: str) -> Path:
        return self.folder / "tasks" / key[:2] / key


def digest_of(folder: Path) -> str:
    """The payload digest of a finished port folder, as its record states it."""
    record = lineage.read(folder)
    return record.payload if record is not None else ""


def copy_ports(task: Path, ports: Mapping[str, Path], files: Mapping[str, Path]) -> None:
    """Copy the outputs of a task of an earlier run.

    Args:
        task: Its folder there.
        ports: Output port -> folder to make.
        files: Value output -> text file to make.

    Raises:
        EngineError: The earlier run does not have them.
    """
    for name in (*ports, *files):
        if not (task / name).exists():
            raise EngineError(task.name, f"the earlier run has no output {name}", do="run the whole pipeline again")
    for name, target in ports.items():
        with replace_folder(target) as partial:
            shutil.copytree(task / name, partial, symlinks=True, dirs_exist_ok=True)
    for name, target in files.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(task / name, target)


def _holds(folder: Path, digest: str) -> bool:
    """Whether a port folder is there already, complete and to the byte."""
    return digest_of(folder) == digest == folder_digest(folder)


def _copy_hashed(source: Path, target: Path) -> str:
    digests = {}
    target.mkdir(parents=True)
    for name, path in files_below(source).items():
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with path.open("rb") as reader, place.open("wb") as writer:
            while chunk := reader.read(_CHUNK):
                digest.update(chunk)
                writer.write(chunk)
        digests[name] = digest.hexdigest()
    return payload_digest(digests)
