"""Run each task in a container of its own with podman or docker: same compiled pipeline, same payloads.

A container sees its inputs and locations (read-only), its outputs, and a working folder; nothing else of this machine.
It has no network unless its contract says that it talks to a server, no capability, and a root that cannot be written.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimed_med import lineage, openlineage, registry
from claimed_med.engines import image as images
from claimed_med.engines.call import Call
from claimed_med.engines.environment import handed_in
from claimed_med.engines.flow import words_of
from claimed_med.engines.foreign import is_foreign, optional_words, place_of, take_outputs
from claimed_med.engines.guard import Guard
from claimed_med.errors import EngineError
from claimed_med.payload import PARTIAL
from claimed_med.remote import is_remote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from claimed_med.component import Component, Contract
    from claimed_med.engines.ir import Pipeline
    from claimed_med.engines.task import Task

NETWORK = "CLAIMED_MED_CONTAINER_NETWORK"
_LOCATIONS, _INPUTS, _OUTPUTS, _SCRATCH, _TMP = "/locations", "/inputs", "/outputs", "/scratch", "/tmp"  # noqa: S108 - inside
_EVENTS = "events.jsonl"
_NOBODY = 1000  # the user in a container when the engine is root


class ContainerRunner:
    """Runs tasks in containers.

    Args:
        out: The run folder; working folders lie hidden in it for the time of a run.
        talking: Tasks of others that may use the network, by title.
    """

    def __init__(self, out: Path, talking: Iterable[str] = ()) -> None:
        self.program = images.engine()
        self.out = out.resolve()
        self.talking = frozenset(talking)
        self.name = f"claimed-med-{uuid.uuid4().hex[:12]}"
        self._label = f"org.claimed-med.run={self.name}"
        self._count = itertools.count(1)
        self._images: dict[str, images.Image] = {}
        self._running = 0
        self._lock = threading.Lock()
        self._work = self.out / f"{PARTIAL}work-{self.name}"
        self._guard = Guard(self.program, self._label, self._work)

    @property
    def is_podman(self) -> bool:
        """Whether the engine is podman."""
        return Path(self.program).name == "podman"

    def check(self, pipeline: Pipeline) -> None:
        """Refuse, before anything runs, a pipeline whose images are not here or carry other components."""
        faults = []
        for one in pipeline.executors.values():
            container = one["container"]
            found = self._image(container)
            if not is_foreign(container):
                contract = registry.get(container["command"][2]).contract
                if _is_builtin(contract) and (contract.name, contract.version) not in found.carried:
                    faults.append(f"{found.reference} does not carry {contract.name} {contract.version}")
        if faults:
            raise EngineError("container", "; ".join(sorted(set(faults))), do="run: make image")

    def state(self, task: Task) -> str:
        """The digest of the image: what is in it decides the bytes."""
        return self._image(task.container).digest

    def run(self, task: Task, log: Path, share: int, told: Callable[[int, int], None]) -> int:
        """Run a task in a container; its exit code, negative for a signal."""
        number = next(self._count)
        found = self._image(task.container)
        work = self._work / str(number)
        written = task.folder / f"{PARTIAL}container" if task.component is None else task.folder
        started = lineage.now()
        try:
            shutil.rmtree(task.folder / f"{PARTIAL}container", ignore_errors=True)
            for folder in (work / "tmp", work / "secrets", work / "events", written):
                folder.mkdir(parents=True, exist_ok=True)
            (work / "secrets").chmod(0o700)
            call = self._call(task, found, work, written, share)
            with self._counted():
                words = [self.program, "run", f"--name={self.name}-{number}", f"--label={self._label}"]
                code = call.run([*words, *self._engine_words()], found.id, log, told)
            openlineage.forward(work / "events" / _EVENTS)
            if code == 0 and task.component is None:
                take_outputs(task, written, found.digest, started)
        finally:
            _give(os.getuid(), os.getgid(), task.folder)
            shutil.rmtree(work, ignore_errors=True)
            shutil.rmtree(task.folder / f"{PARTIAL}container", ignore_errors=True)
        return code

    def close(self) -> None:
        """End every container of this run."""
        self._guard.close(finished=not self._running)
        shutil.rmtree(self._work, ignore_errors=True)
        with contextlib.suppress(OSError):  # what a run that failed left there, the next one finds
            (self.out / f"{PARTIAL}scratch").rmdir()

    def _scratch(self) -> Path:
        """The folder of working files that outlive a killed run of the same out folder (checkpoints of a training)."""
        folder = self.out / f"{PARTIAL}scratch"
        folder.mkdir(exist_ok=True)
        if os.getuid() == 0:
            os.chown(folder, *_user())
        return folder

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1

    def _image(self, container: Mapping[str, Any]) -> images.Image:
        reference = str(container["image"])
        if reference.startswith("claimed-med/") and not is_foreign(container):
            contract = registry.get(container["command"][2]).contract
            if not _is_builtin(contract):  # it has a version of its own, and runs in our newest image
                reference = f"claimed-med/{contract.image}:latest"
        with self._lock:
            if reference not in self._images:
                self._images[reference] = images.find(self.program, reference)
            return self._images[reference]

    def _call(self, task: Task, found: images.Image, work: Path, written: Path, share: int) -> Call:
        call = Call()
        places = {
            name: call.mount(place, f"{_INPUTS}/{name}") for name, (place, _) in sorted(task.inputs.artifacts.items())
        }
        call.mount(written, _OUTPUTS, writable=True)
        call.mount(work / "tmp", _TMP, writable=True)
        call.environment = {"HOME": _TMP, "CLAIMED_MED_IMAGE_DIGEST": found.digest}
        if task.component is None:
            places = {name: place_of(task.inputs.artifacts[name][0], inside) for name, inside in places.items()}
            present = {*task.texts, *places}
            words = [list(optional_words(task.container.get(part, []), present)) for part in ("command", "args")]
            call.words = words_of([*words[0], *words[1]], task.texts, places, _OUTPUTS)
            call.entrypoint = call.words.pop(0) if words[0] else ""
            call.environment |= {one["name"]: one["value"] for one in task.container.get("env", [])}
            if task.title in self.talking:
                call.network = _network()
        else:
            self._ours(call, task, task.component, places, work, share)
        _give(*_user(), written, work)
        return call

    def _ours(
        self, call: Call, task: Task, component: Component, places: dict[str, str], work: Path, share: int
    ) -> None:
        """What one of our components gets beside its ports: locations, secrets, and the words that engines say."""
        contract = component.contract
        texts = dict(task.texts)
        for one in contract.settings:
            text = str(task.settings[one.name])
            if one.is_location and text and is_remote(text):
                call.network = _network()
            elif one.is_location and text:
                source = Path(text)
                target = f"{_LOCATIONS}/{one.name}" + (f"/{source.name}" if source.is_file() else "")
                texts[one.name] = call.mount(source, target)
        if contract.talks:
            call.network = _network()
        call.mount(self._scratch(), _SCRATCH, writable=True)
        call.environment |= {
            "CLAIMED_MED_FORK": "1",
            "CLAIMED_MED_ENGINE": "local-container",
            "CLAIMED_MED_WORKERS": str(share),
            "CLAIMED_MED_SCRATCH": _SCRATCH,
            "CLAIMED_MED_PROGRESS_FD": "1",
            openlineage.PARENT: task.parent,
            openlineage.FILE: f"{call.mount(work / 'events', '/events', writable=True)}/{_EVENTS}",
            **openlineage.handed_on(),
        }
        variables, files = handed_in(work / "secrets", talks=call.network != "none")
        call.environment |= variables
        for path, target in files.items():
            call.mount(path, target)
        name = contract.name
        if contract.category == "local":
            name = call.mount(component.path, f"/component/{component.path.name}")
        arguments = words_of(task.container.get("args", []), texts, places, _OUTPUTS)
        call.entrypoint, call.words = "claimed-med", ["run", name, *arguments]

    def _engine_words(self) -> list[str]:
        uid, gid = _user()
        as_we = ["--userns=keep-id"] if self.is_podman and os.getuid() != 0 else []
        no_proxy = ["--http-proxy=false"] if self.is_podman else []  # an address with a password, perhaps
        return [f"--user={uid}:{gid}", *as_we, *no_proxy]


def _is_builtin(contract: Contract) -> bool:
    return contract.module.startswith("claimed_med.components.")


def _network() -> str:
    return os.environ.get(NETWORK, "") or "bridge"


def _user() -> tuple[int, int]:
    """The user in the container: never root."""
    uid = os.getuid()
    return (uid, os.getgid()) if uid else (_NOBODY, _NOBODY)


def _give(uid: int, gid: int, *folders: Path) -> None:
    """Make folders a user's, where the engine is root; otherwise they are ours and the container's user is we."""
    if os.getuid() != 0:
        return
    for folder in (one for one in folders if one.is_dir()):
        os.chown(folder, uid, gid)
        for parent, names, files in os.walk(folder):
            for name in (*names, *files):
                os.chown(Path(parent) / name, uid, gid, follow_symlinks=False)
