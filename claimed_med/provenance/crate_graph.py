"""The entities of a Provenance Run Crate: workflow, tools, steps, actions, parameters, outputs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from claimed_med import registry
from claimed_med.errors import ClaimedMedError

if TYPE_CHECKING:
    from claimed_med.component import Contract
    from claimed_med.lineage import Record
    from claimed_med.provenance.runfile import RunFile

CONTEXT = ["https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context"]
PROFILES = {
    "process": ("https://w3id.org/ro/wfrun/process/0.5", "Process Run Crate", "0.5"),
    "workflow": ("https://w3id.org/ro/wfrun/workflow/0.5", "Workflow Run Crate", "0.5"),
    "provenance": ("https://w3id.org/ro/wfrun/provenance/0.5", "Provenance Run Crate", "0.5"),
    "workflow-ro": ("https://w3id.org/workflowhub/workflow-ro-crate/1.0", "Workflow RO-Crate", "1.0"),
}
LICENCE = "No licence is granted by this crate: that of the source data applies."
_LANGUAGE = "#kubeflow-ir"
_ENGINE = "#engine"
_TYPES = {bool: "Boolean", int: "Integer", float: "Float", str: "Text"}
_KINDS = {"STRING": "Text", "NUMBER_INTEGER": "Integer", "NUMBER_DOUBLE": "Float", "BOOLEAN": "Boolean"}
_ENDINGS = {".json": "application/json", ".dcm": "application/dicom", ".png": "image/png", ".html": "text/html"}


@dataclass(frozen=True)
class Task:
    """One task of a run.

    Attributes:
        title: Its name.
        place: Its folder in the crate, '' for the run of one component.
        ports: Folder of an output port -> record.
        values: Value output -> text.
    """

    title: str
    place: str
    ports: dict[str, Record]
    values: dict[str, str]

    @property
    def record(self) -> Record:
        """Of its first output port: all of them tell the same of the run."""
        return next(iter(self.ports.values()))


@dataclass
class Graph:
    """Entities by @id."""

    entities: dict[str, dict[str, Any]] = field(default_factory=dict)
    main: str = ""

    def add(self, name: str, kind: str | list[str], /, **told: Any) -> dict[str, str]:
        """Add an entity, or more properties of one; returns a reference to it."""
        given = {key: value for key, value in told.items() if value not in (None, "", [])}
        self.entities.setdefault(name, {"@id": name, "@type": kind}).update(given)
        return {"@id": name}

    def link(self, name: str, key: str, target: dict[str, str]) -> None:
        """Add a reference to a list of references, once."""
        listed = self.entities[name].setdefault(key, [])
        if target not in listed:
            listed.append(target)

    def add_file(self, name: str, size: int, sha256: str) -> None:
        """List a file of the crate, below the output port to which it belongs."""
        ending = name[name.rfind(".") :] if "." in name.rpartition("/")[2] else ""
        told = {
            "name": name.rpartition("/")[2],
            "contentSize": str(size),
            "sha256": sha256,
            "encodingFormat": _ENDINGS.get(ending, "text/plain" if not ending else "application/octet-stream"),
        }
        self.add(name, "File", **told)
        owner = max((one for one in self.entities if one.endswith("/") and name.startswith(one)), key=len, default="./")
        self.link(owner, "hasPart", {"@id": name})
        if owner != "./":
            self.link("./", "hasPart", {"@id": name})

    def as_dict(self) -> dict[str, Any]:
        """The content of ro-crate-metadata.json."""
        return {"@context": CONTEXT, "@graph": [self.entities[name] for name in sorted(self.entities)]}


def graph_of(run: RunFile | None, tasks: list[Task], workflow: str) -> Graph:
    """The entities of a run, files left out.

    Args:
        run: Of a pipeline, or None for a run of one component.
        tasks: All that ran.
        workflow: Name of the file with the compiled pipeline.
    """
    graph = Graph()
    profiles = [PROFILES["process"]] if run is None else list(PROFILES.values())
    for name, title, version in profiles:
        graph.add(name, "CreativeWork", name=title, version=version)
    ended = max(str(one.record.environment.get("ended", "")) for one in tasks)
    title = run.pipeline if run is not None else tasks[0].title
    graph.add(
        "./",
        "Dataset",
        name=f"Run of {title}",
        description=f"A run of {title} with its records, which hold digests, UIDs and settings.",
        datePublished=ended,
        license=LICENCE,
        conformsTo=[{"@id": name} for name, _, _ in profiles],
    )
    graph.entities["./"].update(hasPart=[], mentions=[])
    graph.add(
        "ro-crate-metadata.json",
        "CreativeWork",
        about={"@id": "./"},
        conformsTo=[{"@id": "https://w3id.org/ro/crate/1.1"}, *([{"@id": PROFILES["workflow-ro"][0]}] if run else [])],
    )
    for task in tasks:
        _add_task(graph, task)
    if run is not None:
        _add_workflow(graph, run, tasks, workflow)
    return graph


def _add_task(graph: Graph, task: Task) -> None:
    record = task.record
    tool = _add_tool(graph, record)
    results = []
    for place, one in task.ports.items():
        kind = {"identifier": f"sha256:{one.payload}", "description": f"Output port {one.port} of {task.title}"}
        results.append(graph.add(f"{place}/", "Dataset", name=f"{task.title}/{one.port}", **kind))
        graph.link("./", "hasPart", {"@id": f"{place}/"})
        _example(graph, f"{tool}/{one.port}", "Dataset", "output", tool, {"@id": f"{place}/"})
    for name, text in task.values.items():
        value = graph.add(f"#{task.title}/{name}", "PropertyValue", name=name, value=text)
        _example(graph, f"{tool}/{name}", "Text", "output", tool, value)
        results.append(value)
    told = record.environment
    action = graph.add(
        f"#run-{task.title}",
        "CreateAction",
        name=f"Run of {record.component} {record.version}",
        instrument={"@id": tool},
        object=_objects(graph, task, tool),
        result=results,
        startTime=told.get("started", ""),
        endTime=told.get("ended", ""),
        actionStatus="http://schema.org/CompletedActionStatus",
        description=_description(record),
    )
    graph.link("./", "mentions", action)


def _description(record: Record) -> str:
    done = [one for one in record.units if one.status == "done"]
    weights = f"; weights sha256 {record.weights}" if record.weights else ""
    return (
        f"{len(done)} of {len(record.units)} units done; first identity {(done or record.units)[0].identity}{weights}"
    )


def _add_tool(graph: Graph, record: Record) -> str:
    name = f"#tool-{record.component}"
    contract = _contract(record.component)
    graph.add(
        name,
        "SoftwareApplication",
        name=record.component,
        softwareVersion=record.version,
        description=contract.summary if contract is not None else "",
    )
    return name


def _contract(name: str) -> Contract | None:
    try:
        return registry.get(name).contract
    except ClaimedMedError:
        return None


def _objects(graph: Graph, task: Task, tool: str) -> list[dict[str, str]]:
    """What went in: output ports of other tasks, settings, and what came from outside, by digest."""
    record, found = task.record, []
    for name, value in sorted(record.settings.items()):
        setting = graph.add(f"#{task.title}/setting/{name}", "PropertyValue", name=name, value=_text(value))
        _example(graph, f"{tool}/{name}", _TYPES.get(type(value), "Text"), "input", tool, setting)
        found.append(setting)
    for name, value in sorted(record.locations.items()):
        place = graph.add(f"#{task.title}/location/{name}", "PropertyValue", name=name, value=f"sha256:{value}")
        _example(graph, f"{tool}/{name}", "Text", "input", tool, place)
        found.append(place)
    for port in sorted({name for unit in record.units for name in unit.inputs}):
        digests = sorted({unit.inputs[port]["digest"] for unit in record.units if port in unit.inputs})
        told = {"name": port, "value": record.parents.get(port, ""), "description": f"{len(digests)} payloads"}
        source = graph.add(f"#{task.title}/input/{port}", "PropertyValue", **told)
        graph.entities[source["@id"]].setdefault("value", f"sha256:{digests[0]}")
        _example(graph, f"{tool}/{port}", "Dataset", "input", tool, source)
        found.append(source)
    return found


def _example(graph: Graph, name: str, kind: str, side: str, owner: str, value: dict[str, str]) -> None:
    """Declare a formal parameter of a tool or workflow, with a value that it had."""
    graph.add(name, "FormalParameter", name=name.rpartition("/")[2], additionalType=kind)
    graph.link(name, "workExample", value)
    graph.link(value["@id"], "exampleOfWork", {"@id": name})
    graph.link(owner, side, {"@id": name})


def _add_workflow(graph: Graph, run: RunFile, tasks: list[Task], workflow: str) -> None:
    graph.add(_LANGUAGE, "ComputerLanguage", name="Kubeflow Pipelines IR", version="2.1.0", alternateName="KFP IR")
    told = {"name": run.pipeline, "programmingLanguage": {"@id": _LANGUAGE}, "identifier": f"sha256:{run.ir_digest}"}
    graph.add(workflow, ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"], **told)
    graph.entities["./"]["mainEntity"] = {"@id": workflow}
    inputs = _add_parameters(graph, run, workflow)
    controls = [_add_step(graph, task, number, workflow) for number, task in enumerate(tasks)]
    results = [{"@id": f"{place}/"} for task in tasks for place in task.ports]
    started = min(str(one.record.environment.get("started", "")) for one in tasks)
    times = {"startTime": started, "endTime": graph.entities["./"]["datePublished"]}
    action = graph.add(
        "#run",
        "CreateAction",
        name=f"Run of {run.pipeline}",
        instrument={"@id": workflow},
        object=inputs,
        result=results,
        actionStatus="http://schema.org/CompletedActionStatus",
        **times,
    )
    version = run.environment.get("claimed_med", "")
    engine = graph.add(_ENGINE, "SoftwareApplication", name=f"claimed_med engine {run.engine}", softwareVersion=version)
    graph.add(
        "#organize",
        "OrganizeAction",
        name=f"Run of the engine {run.engine}",
        instrument=engine,
        object=controls,
        result=action,
        **times,
    )
    graph.link("./", "mentions", action)
    graph.link("./", "mentions", {"@id": "#organize"})


def _add_parameters(graph: Graph, run: RunFile, workflow: str) -> list[dict[str, str]]:
    declared = run.ir["root"].get("inputDefinitions", {}).get("parameters", {})
    found = []
    for name, told in sorted(declared.items()):
        text = (
            _text(run.parameters[name]) if name in run.parameters else f"withheld: a {run.withheld.get(name, 'place')}"
        )
        value = graph.add(f"#parameter-value/{name}", "PropertyValue", name=name, value=text)
        kind = _KINDS.get(told.get("parameterType", "STRING"), "Text")
        _example(graph, f"#parameter/{name}", kind, "input", workflow, value)
        found.append(value)
    return found


def _add_step(graph: Graph, task: Task, number: int, workflow: str) -> dict[str, str]:
    tool = {"@id": f"#tool-{task.record.component}"}
    step = graph.add(f"#step-{task.title}", "HowToStep", name=task.title, position=str(number), workExample=tool)
    graph.link(workflow, "hasPart", tool)
    graph.link(workflow, "step", step)
    action = {"@id": f"#run-{task.title}"}
    return graph.add(
        f"#control-{task.title}", "ControlAction", name=f"Run {task.title}", instrument=step, object=action
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
