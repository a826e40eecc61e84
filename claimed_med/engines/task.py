"""One container task of a pipeline that is about to run, and what runs it: a process, or a container."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from claimed_med import registry
from claimed_med.component import parse_argument
from claimed_med.engines.flow import kind_of
from claimed_med.engines.foreign import is_foreign
from claimed_med.engines.ir import Pipeline, as_text
from claimed_med.execute import full_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from claimed_med.component import Component
    from claimed_med.engines.flow import Values


@dataclass(frozen=True)
class Task:
    """A container task.

    Attributes:
        title: As users see it, with the DAGs around it.
        container: Image, command and arguments of the compiled pipeline.
        texts: Parameter -> text, as the command line takes it.
        inputs: What flows in.
        folder: Its outputs: `<folder>/<port>`.
        ports: Output port -> folder.
        files: Value output -> file.
        component: What is run; None for a container of somebody else.
        settings: All settings of the component, checked.
        parent: The run that it belongs to, as its OpenLineage events name it.
    """

    title: str
    container: Mapping[str, Any]
    texts: dict[str, str]
    inputs: Values
    folder: Path
    ports: dict[str, Path]
    files: dict[str, Path]
    component: Component | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    parent: str = ""

    @property
    def slots(self) -> int:
        """Cores that it takes."""
        if self.component is None or self.component.contract.over:
            return 1
        return self.component.contract.threads

    @property
    def talks(self) -> bool:
        """Whether it talks to a server by its contract, so that no earlier result stands for it."""
        return self.component is not None and self.component.contract.talks


class Runner(Protocol):
    """What runs tasks; every method may be called from any thread."""

    def check(self, pipeline: Pipeline) -> None:
        """Refuse, before anything runs, what cannot run here.

        Raises:
            EngineError: A task of the pipeline cannot run here; named.
        """

    def state(self, task: Task) -> str:
        """What decides a task's bytes beside the task and our own code: the image's digest, or ''."""

    def run(self, task: Task, log: Path, share: int, told: Callable[[int, int], None]) -> int:
        """Run a task; its exit code, negative for a signal.

        Args:
            task: What to run.
            log: Where everything goes that it prints.
            share: Worker processes that it may have.
            told: Is called with the number of finished units, and of all.
        """

    def close(self) -> None:
        """End whatever still runs."""


def task_of(
    pipeline: Pipeline, component: Mapping[str, Any], inputs: Values, folder: Path, title: str, parent: str = ""
) -> Task:
    """A task out of a compiled component that is no DAG, and what flows into it.

    Raises:
        ContractError: There is no such component, or a value is not allowed.
    """
    container = pipeline.container(dict(component))
    texts = {name: as_text(value, kind_of(component, name)) for name, value in inputs.parameters.items()}
    if is_foreign(container):
        outputs = component.get("outputDefinitions", {})
        ports = {name: folder / name for name in outputs.get("artifacts", {})}
        files = {name: folder / name for name in outputs.get("parameters", {})}
        return Task(title, container, texts, inputs, folder, ports, files, parent=parent)
    found = registry.get(container["command"][2])
    contract = found.contract
    given = {
        one.name: parse_argument(one, texts[one.name], contract.name) for one in contract.settings if one.name in texts
    }
    ports = {port.name: folder / port.name for port in contract.outputs if not port.is_value}
    files = {port.name: folder / port.name for port in contract.outputs if port.is_value}
    settings = full_settings(contract, given)
    return Task(title, container, texts, inputs, folder, ports, files, found, settings, parent)
