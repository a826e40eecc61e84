"""Run a component on the example that its decorator names, and remember what happened.

An example value of an input port (or of a Location setting) is the name of a phantom; or `component:port`, the output
of that component on its own example; or `./folder`, a folder beside the component's file. A setting that names a
server says `@dicomweb` or `@dimse`: an Orthanc that holds the phantom `collection`; `@study` is a study of it. The
input is copied into a folder whose name is a made-up patient's, as in hospitals.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import io
import logging
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimed_med import registry
from claimed_med.component import to_argument
from claimed_med.errors import ContractError
from claimed_med.payload import digest_files, files_below
from claimed_med.run import main
from claimed_med.testing.orthanc import Orthanc, orthanc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claimed_med.component import Component

PLANTED_FOLDER = "PLANTEDSURNAME^Erika 19470311"
PLANTED_WORDS = ("PLANTEDSURNAME", "19470311")


@dataclass(frozen=True)
class Finished:
    """One run that came to an end.

    Attributes:
        code: Exit code.
        out: Folder with one entry per output port.
        text: Everything that was printed or logged.
    """

    code: int
    out: Path
    text: str


@dataclass(frozen=True)
class Example:
    """A component with its example input on disk.

    Attributes:
        component: What is run.
        inputs: Input port or Location setting -> folder.
        settings: Other settings of the example, as command-line words.
        before: Input -> sha256 of its files before the first run.
        first: The first run.
    """

    component: Component
    inputs: Mapping[str, Path]
    settings: tuple[str, ...]
    before: Mapping[str, Mapping[str, str]]
    first: Finished

    def again(self, inputs: Mapping[str, Path] | None = None) -> Finished:
        """Run once more, into a folder of its own."""
        return _run(self.component, inputs or self.inputs, self.settings)

    def moved_inputs(self) -> dict[str, Path]:
        """A copy of the inputs in another place, with other modification times."""
        return {name: _placed(path, name) for name, path in self.inputs.items()}

    def source_files(self) -> list[Path]:
        """Every DICOM file of the inputs."""
        return [path for folder in self.inputs.values() for path in sorted(folder.rglob("*.dcm"))]


@functools.cache
def example_of(component: Component) -> Example:
    """The example of a component, run once.

    Raises:
        ContractError: The example does not name a value for every input port.
    """
    contract = component.contract
    places = [one.name for one in contract.inputs] + [one.name for one in contract.settings if one.is_location]
    given = contract.example
    missing = [name for name in places if name not in given]
    if missing:
        raise ContractError(contract.name, "the example names no input", got=", ".join(missing))
    inputs = {name: _placed(_source(str(given[name]), component.path.parent), name) for name in places}
    plain = [one for one in contract.settings if one.name in given and not one.is_location]
    settings = tuple(word for one in plain for word in (one.option, to_argument(one, _served(given[one.name]))))
    before = {name: digest_files(dict(files_below(path))) for name, path in inputs.items()}
    return Example(component, inputs, settings, before, _run(component, inputs, settings))


def needs_server(component: Component) -> bool:
    """Whether the example talks to a server that a test starts."""
    return component.contract.talks


def _served(value: Any) -> Any:
    """The value of a setting; what starts with @ stands for a server that is started now."""
    if not isinstance(value, str) or value not in {"@dicomweb", "@dimse", "@study"}:
        return value
    server, study = _server()
    return {
        "@dicomweb": server.dicomweb_url,
        "@dimse": f"{server.aet}@127.0.0.1:{server.dicom_port}",
        "@study": study,
    }[value]


@functools.cache
def _server() -> tuple[Orthanc, str]:
    from claimed_med.dicom.web import Archive

    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    server = stack.enter_context(orthanc(new_folder()))
    with Archive(server.dicomweb_url) as archive:
        archive.store(sorted(phantom("collection").rglob("*.dcm")))
        return server, archive.query({})[0].study_uid


def new_folder() -> Path:
    """An empty folder that lives as long as this process."""
    return Path(tempfile.mkdtemp(dir=_workplace()))


def _source(value: str, home: Path) -> Path:
    if value.startswith("./"):
        return home / value
    name, found, port = value.partition(":")
    if found:
        return example_of(registry.get(name)).first.out / port
    return phantom(name)


@functools.cache
def phantom(name: str) -> Path:
    """The folder of a phantom, written once."""
    from claimed_med.testing import phantoms

    folder = new_folder()
    phantoms.write(name, folder)
    return folder


def _placed(source: Path, name: str) -> Path:
    target = new_folder() / PLANTED_FOLDER / name
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    return target


def _run(component: Component, inputs: Mapping[str, Path], settings: tuple[str, ...]) -> Finished:
    out = new_folder() / "out"
    ports = [word for name, path in inputs.items() for word in (f"--{name.replace('_', '-')}", str(path))]
    words = [str(component.path), *ports, *settings, "--out", str(out)]
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    try:
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            code = main(words)
    finally:
        logging.getLogger().removeHandler(handler)
    return Finished(code, out, log.getvalue())


@functools.cache
def _workplace() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="claimed-med-checks-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
