"""Write a run as a Provenance Run Crate that others can read with their tools, verify, and run again with ours.

The crate has the layout of the run folder, so `lineage verify` and `lineage rerun` take it as it is. Records, the
compiled pipeline, reports, models and decisions go along. Images, pictures and tables do not, unless asked for: they
hold whatever their headers and columns hold. What is left out is still named by digest in the records.

Source:
    RO-Crate 1.1; Workflow Run RO-Crate 0.5 (process, workflow and provenance profile).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from claimed_med import registry
from claimed_med.errors import ClaimedMedError, OutputError
from claimed_med.payload import LINEAGE, UNITS, copy_file, replace_folder, sha256_of
from claimed_med.provenance import runfile
from claimed_med.provenance.crate_graph import Graph, Task, graph_of
from claimed_med.provenance.diff import records_below
from claimed_med.provenance.verify import CRATE

if TYPE_CHECKING:
    from claimed_med.lineage import Record

WORKFLOW = "workflow.json"
_CARRIED = {"Report": (".json",), "ModelBundle": (), "Decision": ()}  # kind -> endings that go along, () for all


def export(run: Path, out: Path, *, with_data: bool = False) -> int:
    """Write the crate of a run.

    Args:
        run: Run folder of a pipeline, or output folder of a component.
        out: Folder to make.
        with_data: Whether images, pictures and tables go along.

    Returns:
        Number of entities in its metadata.

    Raises:
        InputError: The folder holds no record.
        OutputError: The target exists already.
    """
    records = records_below(run)
    if out.exists():
        raise OutputError("lineage export", "the folder exists already", do="choose a new one")
    told = runfile.read(run)
    with replace_folder(out) as folder:
        for place, record in records.items():
            _copy_port(run / place, folder / place, _kept(record, with_data=with_data))
        tasks = [_task(run, folder, name, ports) for name, ports in _by_task(records).items()]
        if told is not None:
            copy_file(run / runfile.NAME, folder / runfile.NAME)
            (folder / WORKFLOW).write_text(json.dumps(told.ir, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        graph = graph_of(told, tasks, WORKFLOW)
        _list_files(folder, graph)
        content = graph.as_dict()
        text = json.dumps(content, indent=1, sort_keys=True) + "\n"
        (folder / CRATE).write_text(text, encoding="utf-8")
    return len(content["@graph"])


def _kept(record: Record, *, with_data: bool) -> list[str]:
    if with_data:
        return list(record.files)
    try:
        kind = registry.get(record.component).contract.output(record.port).kind
    except ClaimedMedError:
        return []
    endings = _CARRIED.get(kind)
    if endings is None:
        return [name for name in record.files if name == UNITS]
    return [name for name in record.files if name == UNITS or not endings or name.endswith(endings)]


def _copy_port(source: Path, target: Path, names: list[str]) -> None:
    for name in (*names, LINEAGE):
        if (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            copy_file(source / name, target / name)


def _by_task(records: dict[str, Record]) -> dict[str, dict[str, Record]]:
    found: dict[str, dict[str, Record]] = {}
    for place, record in records.items():
        found.setdefault(place.rpartition("/")[0], {})[place] = record
    return found


def _task(run: Path, folder: Path, name: str, ports: dict[str, Record]) -> Task:
    """One task, its value outputs copied."""
    values = {}
    for path in sorted((run / name).glob("*")):
        if name and path.is_file() and "." not in path.name:
            copy_file(path, folder / name / path.name)
            values[path.name] = path.read_text(encoding="utf-8")
    return Task(name or next(iter(ports.values())).component, name, ports, values)


def _list_files(folder: Path, graph: Graph) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            graph.add_file(name, path.stat().st_size, sha256_of(path))
