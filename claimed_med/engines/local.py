"""Run a compiled pipeline on this machine: independent tasks at once, finished ones from the cache.

The scheduler is one thread per waiting task; a runner runs each container task as a process or in a container.
"""

from __future__ import annotations

import functools
import json
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from claimed_med import lineage, openlineage
from claimed_med.engines.cache import Cache, copy_ports, digest_of
from claimed_med.engines.condition import evaluate
from claimed_med.engines.flow import (
    Failed,
    Skipped,
    Values,
    fill_defaults,
    inputs_of,
    outputs_of,
    parameters_of,
    results_of,
)
from claimed_med.engines.foreign import identity_of
from claimed_med.engines.ir import Pipeline
from claimed_med.engines.process import ProcessRunner
from claimed_med.engines.reason import reason
from claimed_med.engines.slots import Slots
from claimed_med.engines.task import Runner, Task, task_of
from claimed_med.errors import ClaimedMedError, EngineError
from claimed_med.execute import explain, location_digests
from claimed_med.provenance import runfile
from claimed_med.workers import n_cores

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from claimed_med.engines.report import Report


class LocalEngine:
    """Runs pipelines.

    Args:
        out: The run folder: `<task>/<port>/`; it may be that of a run that was killed.
        cache: Where finished tasks are kept, or None.
        report: Is told of every event.
        workers: Tasks at once; by default one per core.
        runner: Runs the tasks: as processes by default, or each in a container.
        given: Task -> its folder in an earlier run, from which its outputs are taken instead of running it.
    """

    def __init__(
        self,
        out: Path,
        *,
        cache: Cache | None,
        report: Report,
        workers: int = 0,
        runner: Runner | None = None,
        given: Mapping[str, Path] | None = None,
    ) -> None:
        self.out = out.resolve()
        self.given = {task: folder.resolve() for task, folder in (given or {}).items()}
        self.cache = cache
        self.report = report
        self.workers = workers or n_cores()
        self.slots = Slots(self.workers)
        self.runner = runner or ProcessRunner()
        self.event = openlineage.Run("pipeline", "PIPELINE")
        self.stopping = False

    def run(self, pipeline: Pipeline, given: Mapping[str, Any]) -> int:
        """Run a pipeline; the exit code: 0, or that of the first task that failed.

        Args:
            pipeline: Loaded and checked.
            given: Pipeline parameters by name, as texts.

        Raises:
            EngineError: A parameter that the pipeline does not have, or one without a value.
        """
        try:
            values = Values(parameters_of(pipeline, given))
            self.runner.check(pipeline)
            (self.out / "logs").mkdir(parents=True, exist_ok=True)
            runfile.write(self.out, runfile.describe(pipeline.name, pipeline.as_dict(), values.parameters, "local"))
            self.event.job = pipeline.name
            with openlineage.told(self.event, []):
                self.event.code = self._run(pipeline, values)
            return self.event.code
        finally:
            self.stopping = True
            self.runner.close()

    def _run(self, pipeline: Pipeline, values: Values) -> int:
        try:
            self._dag(pipeline, pipeline.root["dag"], values, self.out, "")
        except Failed as failure:
            return failure.code
        except Skipped:
            return EngineError.exit_code
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
        prepared = task_of(pipeline, component, inputs, folder / name, title, self.event.name)
        cached = bool(task.get("cachingOptions", {}).get("enableCache", False))
        return self._container(prepared, component, retries, cached=cached)

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

    def _container(self, task: Task, component: Mapping[str, Any], retries: int, *, cached: bool) -> Values:
        self.report.started(task.title)
        if task.title in self.given:
            copy_ports(self.given[task.title], task.ports, task.files)
            self._kept(task)
            return self._results(component, task)
        key = self._key(task, cached=cached)
        entry = self.cache.find(key) if self.cache is not None and key else None
        if self.cache is not None and entry is not None and self.cache.restore(entry, task.ports):
            for name, text in entry.values.items():
                task.files[name].parent.mkdir(parents=True, exist_ok=True)
                task.files[name].write_text(text)
            self._kept(task)
            return results_of(component, task.ports, entry.digests, entry.values)
        self._run_until_done(task, retries)
        if self.cache is not None and key:
            self.cache.store(key, task.ports, {name: place.read_text() for name, place in task.files.items()})
        self.report.finished(task.title, task.ports, cached=False)
        return self._results(component, task)

    def _kept(self, task: Task) -> None:
        """Tell of a task that did not run, since its outputs are there."""
        records = [record for place in task.ports.values() if (record := lineage.read(place)) is not None]
        name = task.component.contract.name if task.component else task.title
        told = openlineage.Run(name, facets={"claimed_med_cache": {"cached": True}}, parent=self.event.name)
        openlineage.emit(openlineage.event("COMPLETE", told, records))
        self.report.finished(task.title, task.ports, cached=True)

    @staticmethod
    def _results(component: Mapping[str, Any], task: Task) -> Values:
        digests = {name: digest_of(place) for name, place in task.ports.items()}
        return results_of(component, task.ports, digests, {name: file.read_text() for name, file in task.files.items()})

    def _key(self, task: Task, *, cached: bool) -> str:
        """The cache key of a task, or '' when no earlier result may stand for it."""
        if self.cache is None or task.talks:
            return ""
        state = self.runner.state(task)
        if task.component is None:
            return identity_of(task, state) if cached else ""
        contract = task.component.contract
        digests = {port.name: task.inputs.artifacts[port.name][1] for port in contract.inputs}
        key = self.cache.key(task.component, task.settings, digests, location_digests(contract, task.settings))
        return lineage.digest([key, state]) if state else key

    def _run_until_done(self, task: Task, retries: int) -> None:
        log = self.out / "logs" / f"{task.title.replace('/', '.')}.log"
        for attempt in range(retries + 1):
            with self.slots.taken(task.slots):
                if self.stopping:
                    raise Skipped
                log.unlink(missing_ok=True)
                share = max(1, self.workers // max(1, self.report.n_running))
                code = self.runner.run(task, log, share, functools.partial(self.report.progress, task.title))
            if code == 0:
                return
            if attempt < retries:
                self.report.retried(task.title, attempt + 1)
        told = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
        self.report.failed(task.title, code, reason(code, told))
        raise Failed(code if code > 0 else EngineError.exit_code)


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
