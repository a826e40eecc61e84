"""The base of all handles: something that flows between components, on disk or in memory. Standard library only."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from claimed_med.errors import InputError, OutputError
from claimed_med.payload import LINEAGE, UNITS, VOLUME, copy_file, files_below, replace_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claimed_med.lineage import Record


class Handle:
    """Base of all handles.

    Args:
        source: A path (folder or file), or the object itself.
    """

    file_name: ClassVar[str] = ""
    per_unit: ClassVar[bool] = True  # a folder of it has one payload a unit of work; False: one payload for all units

    def __init__(self, source: Any) -> None:
        self.record: Record | None = None
        self.frames: Mapping[str, tuple[int, ...]] | None = None
        self.files: Mapping[str, Path] | None = None
        self.path: Path | None = None
        self.object: Any = None
        self.repairs: list[str] = []
        self.key = ""  # unit key, where it is known
        self.final = False  # True: objects in memory have their last UIDs already, since they enter here
        if isinstance(source, str | os.PathLike):
            self.path = Path(source)
        else:
            self.object = source

    @classmethod
    def from_files(cls, files: Mapping[str, Path], frames: Mapping[str, tuple[int, ...]] | None = None) -> Self:
        """A handle on files wherever they lie, each with the name it has in a payload.

        Args:
            files: Name in the payload -> path.
            frames: For a volume that is only part of multi-frame objects: SOPInstanceUID -> frame numbers.
        """
        handle = cls(None)
        handle.files, handle.frames = dict(files), frames
        return handle

    @property
    def kind(self) -> str:
        """Name of the handle class, as in contracts."""
        return type(self).__name__

    @property
    def in_memory(self) -> bool:
        """Whether the object is in memory and not on disk."""
        return self.object is not None

    def payload(self) -> dict[str, Path | bytes]:
        """Every file of the payload: relative name -> where it lies, or its bytes.

        Raises:
            InputError: The path does not exist.
        """
        if self.files is not None:
            entries: dict[str, Path | bytes] = dict(self.files)
            if self.frames:
                frames = {uid: list(numbers) for uid, numbers in sorted(self.frames.items())}
                entries[VOLUME] = json.dumps({"frames": frames}, indent=1).encode()
            return entries
        if self.path is not None:
            root = self.path if len(self.done_units() or ()) > 1 else self.root()
            if root.is_file():
                return {self.file_name or root.name: root}
            return {name: path for name, path in files_below(root).items() if name != LINEAGE}
        return dict(self.encode(self.object))

    def identifiers(self) -> dict[str, dict[str, str]]:
        """Name in the payload -> {"sop_uid", "series_uid"} of every DICOM object in memory."""
        return {}

    def encode(self, content: Any) -> Mapping[str, bytes]:
        """The payload of an object in memory: relative name -> bytes. Each kind defines its own."""
        raise OutputError(self.kind, "cannot be written from memory", got=type(content).__name__)

    def root(self) -> Path:
        """The folder (or file) that holds the payload; the only unit of a folder of units.

        Raises:
            InputError: The path does not exist, or holds several units.
        """
        if self.path is None:
            raise InputError(self.kind, "is in memory and has no folder", do="save it first")
        if not self.path.exists():
            raise InputError(self.kind, "the path does not exist", do="check the path that was given")
        done = self.done_units()
        if done is None:
            return self.path
        if len(done) != 1:
            raise InputError(
                self.kind,
                "the folder holds several units of work" if done else "the folder holds no finished unit",
                got=f"{len(done)} units",
                allowed="one",
                do=f"name one: {', '.join(done[:5])}" if done else f"see {UNITS} for the reasons",
            )
        return self.path / str(done[0])

    def done_units(self) -> list[str] | None:
        """Keys of the finished units of a folder of units, sorted; None for anything else."""
        units = self.path / UNITS if self.path is not None else None
        if units is None or not units.is_file():
            return None
        listed = json.loads(units.read_text(encoding="utf-8"))["units"]
        return sorted(str(unit["key"]) for unit in listed if unit["status"] == "done")

    def paths(self) -> list[Path]:
        """The files of the payload on disk, sorted by name in the payload."""
        return [path for name, path in sorted(self.payload().items()) if isinstance(path, Path) and name != VOLUME]

    def single_file(self, *suffixes: str) -> Path:
        """The only payload file with one of these suffixes.

        Raises:
            InputError: There is none, or more than one.
        """
        found = [path for path in self.paths() if not suffixes or path.name.endswith(suffixes)]
        if len(found) != 1:
            raise InputError(self.kind, "needs exactly one file", got=f"{len(found)} files", do="name the file itself")
        return found[0]

    def load(self) -> Any:
        """Read the object; each kind defines what it is."""
        return self.object

    def write(self, folder: Path) -> None:
        """Write the payload into an existing, empty folder."""
        for name, content in sorted(self.payload().items()):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                target.write_bytes(content)
            else:
                copy_file(content, target)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write payload and lineage into `folder`, all or nothing.

        Args:
            folder: A folder that does not exist yet, or is empty.

        Returns:
            The folder.

        Raises:
            OutputError: The folder exists and holds something.
        """
        target = Path(folder)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise OutputError(self.kind, "the folder to save to is not empty", do="choose a new folder")
        with replace_folder(target) as partial:
            self.write(partial)
            if self.record is not None:
                (partial / LINEAGE).write_text(self.record.with_files_of(partial, self.identifiers()).to_json())
        return target

    def __repr__(self) -> str:
        state = "in memory" if self.in_memory else "on disk"
        return f"{self.kind}({state})"
