"""Run tasks as processes of this machine: each is forked from a server that has imported what its image needs."""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import TYPE_CHECKING

from claimed_med import openlineage, registry
from claimed_med.engines.flow import words_of
from claimed_med.engines.foreign import refuse_foreign
from claimed_med.engines.forkserver import ForkServer
from claimed_med.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from claimed_med.engines.ir import Pipeline
    from claimed_med.engines.task import Task


class ProcessRunner:
    """Runs tasks without isolation, with the packages that are installed here."""

    def __init__(self) -> None:
        self._servers: dict[str, ForkServer] = {}
        self._lock = threading.Lock()

    def check(self, pipeline: Pipeline) -> None:
        """Refuse containers of others: there is nothing here that could run them."""
        refuse_foreign(pipeline)

    def state(self, _: Task) -> str:
        """Nothing: the cache key covers our code and packages."""
        return ""

    def run(self, task: Task, log: Path, share: int, told: Callable[[int, int], None]) -> int:
        """Run a task in a fork; its exit code."""
        if task.component is None:
            raise EngineError(task.title, "is a container of its own", do="run with --isolation container")
        contract = task.component.contract
        places = {name: str(place) for name, (place, _) in task.inputs.artifacts.items()}
        argv = [contract.name, *words_of(task.container.get("args", []), task.texts, places, str(task.folder))]
        if contract.category == "local":
            argv[0] = str(task.component.path)
        environment = {
            "CLAIMED_MED_FORK": "1",
            "CLAIMED_MED_ENGINE": "local",
            "CLAIMED_MED_WORKERS": str(share),
            openlineage.PARENT: task.parent,
        }
        for name in (registry.ENVIRONMENT, "SOURCE_DATE_EPOCH"):
            if name in os.environ:
                environment[name] = os.environ[name]
        if sys.platform == "darwin":
            return _spawned(argv, environment, log)
        reader, writer = os.pipe()
        threading.Thread(target=_watch, args=(reader, told), daemon=True).start()
        done = self._server(contract.image).submit(argv, environment, str(log), writer)
        os.close(writer)
        return done.result()

    def close(self) -> None:
        """End every server and its tasks."""
        for server in self._servers.values():
            server.close()

    def _server(self, image: str) -> ForkServer:
        with self._lock:
            if image not in self._servers:
                self._servers[image] = ForkServer(image)
            return self._servers[image]


def _watch(reader: int, told: Callable[[int, int], None]) -> None:
    with os.fdopen(reader, encoding="utf-8") as lines:
        for line in lines:
            units = json.loads(line)
            told(units["units_done"], units["units_total"])


def _spawned(argv: list[str], environment: dict[str, str], log: Path) -> int:
    import subprocess

    with log.open("ab") as stream:
        words = [sys.executable, "-m", "claimed_med", "run", *argv]
        return subprocess.run(
            words, stdout=stream, stderr=stream, env={**os.environ, **environment}, check=False
        ).returncode
