"""Containers of others in a pipeline: anybody's component.yaml. They know nothing of us, so the engine records them.

The record names the component by its image and a digest of its command; parameters stand in it as keyed hashes only,
since what a foreign parameter means, and whom it may name, is not known.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimed_med import lineage
from claimed_med.errors import EngineError, OutputError
from claimed_med.payload import LINEAGE, PARTIAL, move_into_place, write_atomic
from claimed_med.secret import keyed_hash

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from claimed_med.engines.ir import Pipeline
    from claimed_med.engines.task import Task

SINGLE = "data"  # the name of an artifact that is one file, within its port folder
_OURS = ["claimed-med", "run"]


def is_foreign(container: Mapping[str, Any]) -> bool:
    """Whether a container is none of our components."""
    return list(container.get("command", [])[:2]) != _OURS


def foreign_images(pipeline: Pipeline) -> list[str]:
    """Images of the containers of others in a pipeline, with their executors."""
    containers = {label: one["container"] for label, one in pipeline.executors.items() if "container" in one}
    return [f"{one.get('image', '')} ({label})" for label, one in sorted(containers.items()) if is_foreign(one)]


def refuse_foreign(pipeline: Pipeline) -> None:
    """Refuse a pipeline that holds containers of others.

    Raises:
        EngineError: It does; each is named.
    """
    if found := foreign_images(pipeline):
        raise EngineError(
            "pipeline",
            f"foreign container {', '.join(found)}: this engine does not run it as a process",
            do="run with --isolation container",
        )


def name_of(task: Task) -> str:
    """The component as its record names it: the image without its tag or digest."""
    image = str(task.container.get("image", "")).partition("@")[0]
    head, slash, tail = image.rpartition("/")
    return f"{lineage.FOREIGN}{head}{slash}{tail.partition(':')[0]}"


def version_of(task: Task, image: str) -> str:
    """The version as its record names it: a digest of image and command."""
    words = [list(task.container.get(name, [])) for name in ("command", "args")]
    return lineage.digest({"image": image, "words": words, "env": task.container.get("env", [])})[:16]


def identity_of(task: Task, image: str) -> str:
    """What decides the bytes: image, command, parameters and input payloads.

    Args:
        task: Of somebody else's container.
        image: Digest of the image.
    """
    inputs = {name: digest for name, (_, digest) in task.inputs.artifacts.items()}
    return lineage.digest(
        {
            "component": name_of(task),
            "version": version_of(task, image),
            "settings": {name: keyed_hash("parameter", text) for name, text in task.texts.items()},
            "inputs": inputs,
        }
    )


def place_of(place: Path, inside: str) -> str:
    """Where a foreign container finds an artifact: the single file, where a foreign container wrote one.

    Args:
        place: The port folder.
        inside: Where the port folder is seen by the container.
    """
    record = lineage.read(place)
    single = record is not None and record.component.startswith(lineage.FOREIGN) and set(record.files) == {SINGLE}
    return f"{inside}/{SINGLE}" if single else inside


def take_outputs(task: Task, written: Path, image: str, started: str) -> None:
    """Put what a finished container wrote in its place, with the lineage beside each artifact.

    Args:
        task: Of somebody else's container.
        written: Where the container wrote.
        image: Digest of the image that ran.
        started: When, ISO 8601.

    Raises:
        OutputError: It ended well but did not write an output that it declares, or wrote something else than files and
            folders: a link would be followed on this machine.
    """
    _refuse_links(task, written)
    missing = sorted(name for name in {**task.ports, **task.files} if not (written / name).exists())
    if missing:
        raise OutputError(task.title, "the container did not write its outputs", got=f"no {', '.join(missing)}")
    parents = {name: lineage.read(place) for name, (place, _) in task.inputs.artifacts.items()}
    inputs = {name: {"digest": digest} for name, (_, digest) in task.inputs.artifacts.items()}
    for name in task.ports:
        place = as_folder(written / name)
        record = lineage.Record(
            component=name_of(task),
            version=version_of(task, image),
            port=name,
            settings={key: keyed_hash("parameter", text)[:16] for key, text in sorted(task.texts.items())},
            units=[lineage.UnitRecord("", "done", identity_of(task, image), inputs)],
            environment={**_environment(), "image_digest": image, "started": started, "ended": lineage.now()},
        )
        for port, parent in parents.items():
            if parent is not None:
                record.adopt(port, parent)
        write_atomic(place / LINEAGE, record.with_files_of(place).to_json())
    for name, place in task.ports.items():
        move_into_place(written / name, place)
    for name, place in task.files.items():
        (written / name).replace(place)


def _refuse_links(task: Task, written: Path) -> None:
    """Refuse whatever is no regular file or folder, and a value that is no file; names of files are not told."""
    odd = {name for name in task.files if (written / name).is_dir()}
    for path in _everything(written):
        if stat.S_IFMT(path.lstat().st_mode) not in {stat.S_IFREG, stat.S_IFDIR}:
            name = path.relative_to(written).parts[0]
            odd.add(name if name in {*task.ports, *task.files} else "beside its outputs")
    if odd:
        raise OutputError(
            task.title,
            "the container wrote a link, a device or the like",
            got=", ".join(sorted(odd)),
            allowed="files and folders; a value is one file",
        )


def _everything(folder: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise error

    for parent, folders, files in os.walk(folder, onerror=fail):
        yield from (Path(parent) / name for name in (*folders, *files))


def as_folder(place: Path) -> Path:
    """Make a port folder of an artifact that was written as one file; its path."""
    if place.is_file():
        partial = place.with_name(f"{PARTIAL}{place.name}")
        partial.mkdir()
        place.rename(partial / SINGLE)
        partial.rename(place)
    return place


def _environment() -> dict[str, Any]:
    told = lineage.environment(1)
    return {**told, "engine": "local-container", "packages": "", "python": ""}


def optional_words(args: list[str], present: set[str]) -> Iterator[str]:
    """Words of a foreign command line, with `IfPresent` and `Concat` of the older schema resolved.

    Args:
        args: As in the compiled pipeline; a structure is a word of JSON.
        present: Names of the inputs that have a value.
    """
    for word in args:
        structure = json.loads(word) if word.startswith(('{"IfPresent"', '{"Concat"')) else word
        yield from _resolved(structure, present)


def _resolved(word: Any, present: set[str]) -> list[str]:
    if isinstance(word, list):
        return [text for one in word for text in _resolved(one, present)]
    if isinstance(word, dict) and "Concat" in word:
        return ["".join(text for one in word["Concat"] for text in _resolved(one, present))]
    if isinstance(word, dict) and "IfPresent" in word:
        told = word["IfPresent"]
        return _resolved(told["Then"] if told["InputName"] in present else told.get("Else", []), present)
    return [str(word)]
