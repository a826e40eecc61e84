"""Run a compiled pipeline on this machine: independent tasks at once, finished ones from the cache.

The scheduler is one thread per waiting task; each container task is forked from the server of its image.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from claimed_med import lineage, openlineage, registry
from claimed_med.component import parse_argument
from claimed_med.engines.cache import Cache, copy_ports, digest_of
from claimed_med.engines.condition import evaluate
from claimed_med.engines.flow import (
    Failed,
    Skipped,
    Values,
    fill_defaults,
    inputs_of,
    kind_of,
    outputs_of,
    parameters_of,
    results_of,
    word_for,
)
from claimed_med.engines.forkserver import ForkServer
from claimed_med.engines.ir import Pipeline, as_text
from claimed_med.engines.slots import Slots
from claimed_med.errors import ClaimedMedError, EngineError
from claimed_med.execute import explain, full_settings, location_digests
from claimed_med.provenance import runfile
from claimed_med.workers import n_cores

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from claimed_med.contract import Contract
    from claimed_med.engines.report import Report


class LocalEngine:
    """Runs pipelines.

    Args:
        out: The run folder: `<task>/<port>/`; it may be that of a run that was killed.
        cache: Where finished tasks are kept, or None.
        report: Is told of every event.
        workers: Tasks at once; by default one per core.
        given: Task -> its folder in an earlier run, from which its outputs are taken instead of running it.
    """

    def __init__(
        self,
        out: Path,
        *,
        cache: Cache | None,
        report: Report,
        workers: int = 0,
        given: Mapping[str, Path] | None = None,
    ) -> None:
        self.out = out.resolve()
        self.given = {task: folder.resolve() for task, folder in (given or {}).items()}
        self.cache = cache
        self.report = report
        self.workers = workers or n_cores()
        self.slots = Slots(self.workers)
        self.servers: dict[str, ForkServer] = {}
        self.event = openlineage.Run("pipeline", "PIPELINE")
        self.lock = threading.Lock()
        self.stopping = False

    def run(self, pipeline: Pipeline, given: Mapping[str, Any]) -> int:
        """Run a pipeline; the exit code: 0, or that of the first task that failed.

        Args:
            pipeline: Loaded and checked.
            given: Pipeline parameters by name, as texts.

        Raises:
            EngineError: A parameter that the pipeline does not have, or one without a value.
        """
        values = Values(parameters_of(pipeline, given))
        (self.out / "logs").mkdir(parents=True, exist_ok=True)
        runfile.write(self.out, runfile.describe(pipeline.name, pipeline.as_dict(), values.parameters, "local"))
        self.event.job = pipeline.name
        with openlineage.told(self.event, []):
            self.event.code = self._run(pipeline, values)
        return self.event.code

    def _run(self, pipeline: Pipeline, values: Values) -> int:
        try:
            self._dag(pipeline, pipeline.root["dag"], values, self.out, "")
        except Failed as failure:
            return failure.code
        except Skipped:
            return EngineError.exit_code
        finally:
            self.stopping = True
            for server in self.servers.values():
                server.close()
        return 0

    def _dag(self, pipeline: Pipeline, dag: Mapping[str, Any], values: Values, folder: Path, path: str) -> Values:
        tasks: dict[str, Any] = dag.get("tasks", {})
        done: dict[str, Future[Values]] = {name: Future() for name in tasks}
        threads = [
            threading.Thread(target=self._settle, args=(pipeline, name, task, values, done, folder, path), daemon=True)
            for name, task in tasks.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        failures = [error for one in done.values() if isinstance(error := one.exception(), Failed)]
        if failures:
            raise failures[0]
        return outputs_of(dag, done)

    def _settle(
        self,
        pipeline: Pipeline,
        name: str,
        task: Mapping[str, Any],
        values: Values,
        done: Mapping[str, Future[Values]],
        folder: Path,
        path: str,
    ) -> None:
        title = f"{path}{name}"
        try:
            inputs = _ready_inputs(task, values, done)
            done[name].set_result(self._run_task(pipeline, name, task, inputs, folder, title))
        except (Skipped, Failed) as outcome:
            if isinstance(outcome, Skipped):
                self.report.skipped(title)
            done[name].set_exception(outcome)
        except ClaimedMedError as error:
            self.report.failed(title, error.exit_code, str(error))
            done[name].set_exception(Failed(error.exit_code))
        except Exception as error:  # noqa: BLE001 - a fault of the engine must end the run, not hang it
            self.report.failed(title, 1, explain(error, "engine")["text"])
            done[name].set_exception(Failed(1))

    def _run_task(
        self, pipeline: Pipeline, name: str, task: Mapping[str, Any], inputs: Values, folder: Path, title: str
    ) -> Values:
        component = pipeline.components[task["componentRef"]["name"]]
        if "parameterIterator" in task:
            return self._loop(pipeline, name, task, component, inputs, folder, title)
        fill_defaults(component, inputs)
        if "dag" in component:
            return self._dag(pipeline, component["dag"], inputs, folder / name, f"{title}/")
        retries = int(task.get("retryPolicy", {}).get("maxRetryCount", 0))
        return self._container(pipeline, component, inputs, folder / name, title, retries)

    def _loop(
        self,
        pipeline: Pipeline,
        name: str,
        task: Mapping[str, Any],
        component: Mapping[str, Any],
        inputs: Values,
        folder: Path,
        title: str,
    ) -> Values:
        iterator = task["parameterIterator"]
        items = iterator["items"]
        listed = json.loads(items["raw"]) if "raw" in items else inputs.parameters[items["inputParameter"]]
        limit = threading.Semaphore(int(task.get("iteratorPolicy", {}).get("parallelismLimit", 0)) or len(listed) or 1)
        results: list[Future[Values]] = [Future() for _ in listed]

        def one(index: int, item: Any) -> None:
            mine = Values({**inputs.parameters, iterator["itemInput"]: item}, dict(inputs.artifacts))
            with limit:
                try:
                    fill_defaults(component, mine)
                    place = folder / f"{name}-{index}"
                    results[index].set_result(self._dag(pipeline, component["dag"], mine, place, f"{title}-{index}/"))
                except (Failed, Skipped) as outcome:
                    results[index].set_exception(outcome)

        threads = [threading.Thread(target=one, args=pair, daemon=True) for pair in enumerate(listed)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        failures = [error for one_result in results if isinstance(error := one_result.exception(), Failed)]
        if failures:
            raise failures[0]
        collected = [one_result.result() for one_result in results if one_result.exception() is None]
        names = component.get("outputDefinitions", {}).get("parameters", {})
        return Values({key: [one_value.parameters.get(key) for one_value in collected] for key in names})

    def _container(
        self, pipeline: Pipeline, component: Mapping[str, Any], inputs: Values, folder: Path, title: str, retries: int
    ) -> Values:
        container = pipeline.container(dict(component))
        found = registry.get(container["command"][2])
        contract = found.contract
        texts = {name: as_text(value, kind_of(component, name)) for name, value in inputs.parameters.items()}
        given = {
            one.name: parse_argument(one, texts[one.name], contract.name)
            for one in contract.settings
            if one.name in texts
        }
        settings = full_settings(contract, given)
        ports = {port.name: folder / port.name for port in contract.outputs if not port.is_value}
        files = {port.name: folder / port.name for port in contract.outputs if port.is_value}
        self.report.started(title)
        if title in self.given:
            copy_ports(self.given[title], ports, files)
            self._kept(contract, title, ports)
            return self._results(component, ports, files)
        key = ""
        if self.cache is not None and not contract.talks:
            digests = {name: inputs.artifacts[name][1] for name in (port.name for port in contract.inputs)}
            key = self.cache.key(found, settings, digests, location_digests(contract, settings))
            entry = self.cache.find(key)
            if entry is not None and self.cache.restore(entry, ports):
                for name, text in entry.values.items():
                    files[name].parent.mkdir(parents=True, exist_ok=True)
                    files[name].write_text(text)
                self._kept(contract, title, ports)
                return results_of(component, ports, entry.digests, entry.values)
        argv = [contract.name, *(word_for(word, texts, inputs, folder) for word in container.get("args", []))]
        if found.contract.category == "local":
            argv[0] = str(found.path)
        self._fork_until_done(contract, argv, title, retries)
        if self.cache is not None and key:
            self.cache.store(key, ports, {name: place.read_text() for name, place in files.items()})
        self.report.finished(title, ports, cached=False)
        return self._results(component, ports, files)

    def _kept(self, contract: Contract, title: str, ports: Mapping[str, Path]) -> None:
        """Tell of a task that did not run, since its outputs are there."""
        records = [record for place in ports.values() if (record := lineage.read(place)) is not None]
        told = openlineage.Run(contract.name, facets={"claimed_med_cache": {"cached": True}}, parent=self.event.name)
        openlineage.emit(openlineage.event("COMPLETE", told, records))
        self.report.finished(title, ports, cached=True)

    @staticmethod
    def _results(component: Mapping[str, Any], ports: Mapping[str, Path], files: Mapping[str, Path]) -> Values:
        digests = {name: digest_of(place) for name, place in ports.items()}
        return results_of(component, ports, digests, {name: place.read_text() for name, place in files.items()})

    def _fork_until_done(self, contract: Contract, argv: list[str], title: str, retries: int) -> None:
        log = self.out / "logs" / f"{title.replace('/', '.')}.log"
        for attempt in range(retries + 1):
            with self.slots.taken(1 if contract.over else contract.threads):
                if self.stopping:
                    raise Skipped
                log.unlink(missing_ok=True)
                code = self._fork(contract.image, argv, title, log)
            if code == 0:
                return
            if attempt < retries:
                self.report.retried(title, attempt + 1)
        told = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
        self.report.failed(title, code, _reason(code, told))
        raise Failed(code if code > 0 else EngineError.exit_code)

    def _fork(self, image: str, argv: list[str], title: str, log: Path) -> int:
        share = max(1, self.workers // max(1, self.report.n_running))
        environment = {
            "CLAIMED_MED_FORK": "1",
            "CLAIMED_MED_ENGINE": "local",
            "CLAIMED_MED_WORKERS": str(share),
        }
        environment[openlineage.PARENT] = self.event.name
        for name in (registry.ENVIRONMENT, "SOURCE_DATE_EPOCH"):
            if name in os.environ:
                environment[name] = os.environ[name]
        if sys.platform == "darwin":
            return _spawned(argv, environment, log)
        reader, writer = os.pipe()
        watcher = threading.Thread(target=self._watch, args=(title, reader), daemon=True)
        watcher.start()
        done = self._server(image).submit(argv, environment, str(log), writer)
        os.close(writer)
        return done.result()

    def _watch(self, title: str, reader: int) -> None:
        with os.fdopen(reader, encoding="utf-8") as lines:
            for line in lines:
                told = json.loads(line)
                self.report.progress(title, told["units_done"], told["units_total"])

    def _server(self, image: str) -> ForkServer:
        with self.lock:
            if image not in self.servers:
                self.servers[image] = ForkServer(image)
            return self.servers[image]


def _ready_inputs(task: Mapping[str, Any], values: Values, done: Mapping[str, Future[Values]]) -> Values:
    """Wait for the tasks before; the inputs, or `Skipped` when the task is not to run."""
    policy = task.get("triggerPolicy", {})
    failed = [before for before in task.get("dependentTasks", []) if done[before].exception() is not None]
    if failed and policy.get("strategy") != "ALL_UPSTREAM_TASKS_COMPLETED":
        raise Skipped
    inputs = inputs_of(task, values, done)
    if policy.get("condition") and not evaluate(policy["condition"], inputs.parameters):
        raise Skipped
    return inputs


def _spawned(argv: list[str], environment: dict[str, str], log: Path) -> int:
    import subprocess

    with log.open("ab") as stream:
        words = [sys.executable, "-m", "claimed_med", "run", *argv]
        return subprocess.run(
            words, stdout=stream, stderr=stream, env={**os.environ, **environment}, check=False
        ).returncode


def _reason(code: int, log: str) -> str:
    if code < 0:
        import signal

        return f"the task was killed by {signal.Signals(-code).name}, perhaps for lack of memory"
    lines = [line for line in log.splitlines() if line.startswith("error: ")]
    if lines:
        return lines[-1].removeprefix("error: ")
    summary = [line.strip() for line in log.splitlines() if line.strip()]
    return "; ".join(summary[:6]) or f"the task ended with code {code}"
