"""`claimed-med pipeline list | show | run | compile`. Standard library only at the top."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from claimed_med.errors import ContractError, InputError, OutputError
from claimed_med.targets.plan import ENGINES, SKIPPED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from claimed_med.engines.ir import Pipeline
    from claimed_med.engines.report import Report

    class Engine(Protocol):
        """What runs a pipeline."""

        def run(self, pipeline: Pipeline, given: Mapping[str, Any]) -> int:
            """Run a pipeline; the exit code."""


ENVIRONMENT = "CLAIMED_MED_PIPELINES"
TARGETS = ("kubeflow", "airflow", "slurm", "argo", "cwl", "k8s-job")


def main(words: list[str]) -> int:
    """Run one pipeline command; the exit code."""
    parser = argparse.ArgumentParser(prog="claimed-med pipeline", description="List, show, run or compile a pipeline.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the prebuilt pipelines")
    show = commands.add_parser("show", help="parameters and tasks of a pipeline")
    show.add_argument("name", help="a name from the list, or a compiled .yaml file")
    run = commands.add_parser("run", help="run a pipeline, on this machine or by another engine")
    run.add_argument("name", help="a name from the list, or a compiled .yaml file")
    run.add_argument(
        "--set", action="append", default=[], metavar="PARAM=VALUE", help="a pipeline parameter; may be repeated"
    )
    run.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="run folder; that of a killed run is finished"
    )
    run.add_argument("--no-cache", action="store_true", help="run every task")
    run.add_argument("--workers", type=int, default=0, metavar="N", help="tasks at once (default: one per core)")
    run.add_argument(
        "--isolation",
        choices=("process", "container"),
        default="process",
        help="container: each task in one of its own",
    )
    run.add_argument(
        "--network-for",
        action="append",
        default=[],
        metavar="TASK",
        help="a foreign container that may use the network",
    )
    run.add_argument("--engine", choices=ENGINES, default="local", help="where it runs (default: %(default)s)")
    run.add_argument("--platform", type=Path, default=None, metavar="TOML", help="what the site says of its cluster")
    run.add_argument("--reuse", type=Path, default=None, metavar="RUN", help="an earlier run folder")
    run.add_argument(
        "--task", action="append", default=[], metavar="NAME", help="take this task's outputs from it; may be repeated"
    )
    make = commands.add_parser("compile", help="compile a pipeline with kfp, or for another engine")
    make.add_argument("name", help="a name from the list, or a Python file")
    make.add_argument(
        "--out", type=Path, default=None, metavar="FILE", help="where to write (default: beside the source)"
    )
    make.add_argument("--check", action="store_true", help="only compare with the file that is there")
    make.add_argument("--target", choices=TARGETS, default="", help="print it for that engine (without: as it is kept)")
    make.add_argument("--set", action="append", default=[], metavar="PARAM=VALUE", help="with --target: a default")
    make.add_argument("--platform", type=Path, default=None, metavar="TOML", help="what the site says of its cluster")
    drawers = commands.add_parser("catalog", help="write the component catalogues that Elyra's palette shows")
    drawers.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="Jupyter's data folder")
    drawers.add_argument("--components", type=Path, default=_components(), metavar="FOLDER", help="components/")
    when = commands.add_parser("when", help=f"end with 0 when a condition holds, with {SKIPPED} when not; for scripts")
    when.add_argument("condition", help="as compiled: int(inputs.parameter_values['x']) > 0")
    when.add_argument("--json", action="store_true", help='print {"holds": true or false} and end with 0')
    when.add_argument("values", nargs="*", metavar="NAME=VALUE")
    arguments = parser.parse_args(words)
    actions = {"list": _list, "show": _show, "run": _run, "compile": _compile, "when": _when, "catalog": _catalog}
    return actions[arguments.command](arguments)


def folders() -> list[Path]:
    """Where prebuilt pipelines are: CLAIMED_MED_PIPELINES, the checkout, the installed package."""
    given = [Path(one) for one in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if one]
    here = Path(__file__).parent
    return [folder for folder in (*given, here.parent / "pipelines", here / "pipelines") if folder.is_dir()]


def names() -> list[str]:
    """Names of the prebuilt pipelines."""
    return sorted({path.stem for folder in folders() for path in folder.glob("[!_]*.yaml")})


def find(name: str, suffix: str) -> Path:
    """The file of a pipeline, by name or path.

    Raises:
        ContractError: There is none.
    """
    if name.endswith(suffix):
        path = Path(name)
        if path.is_file():
            return path
    for folder in folders():
        path = folder / f"{name.replace('-', '_')}{suffix}"
        if path.is_file():
            return path
    allowed = f"{', '.join(names()) or 'none'}, or a {suffix} file"
    raise ContractError("pipeline", "there is no such pipeline", got=repr(Path(name).name), allowed=allowed)


def _components() -> Path:
    return Path(__file__).resolve().parent.parent / "components"


def _catalog(arguments: argparse.Namespace) -> int:
    from claimed_med.payload import write_atomic
    from claimed_med.targets import elyra

    source: Path = arguments.components.resolve()
    folders = sorted({path.parent.parent for path in source.glob("*/*/component.yaml")})
    if not folders:
        raise InputError("pipeline", "there are no components there", do="name the folder components/ of a checkout")
    target = arguments.data / "metadata" / "component-catalogs"
    target.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        write_atomic(target / f"claimed_med_{folder.name}.json", elyra.catalog(folder.name, str(folder)))
    print(f"wrote {len(folders)} catalogues")
    return 0


def _list(_: argparse.Namespace) -> int:
    for name in names():
        print(f"{name:<28} {_first_line(find(name, '.yaml'))}")
    return 0


def _first_line(path: Path) -> str:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# Description: "):
            return line.removeprefix("# Description: ").strip()
    return ""


def _show(arguments: argparse.Namespace) -> int:
    from claimed_med.engines.ir import load

    path = find(arguments.name, ".yaml")
    pipeline = load(path, foreign=True)
    print(f"{pipeline.name}: {_first_line(path)}\n\nparameters (--set NAME=VALUE):")
    for name, told in pipeline.parameters().items():
        default = f"default {told['defaultValue']!r}" if "defaultValue" in told else "required"
        print(f"  {name:<20} {told.get('parameterType', 'STRING').lower():<15} {default}")
        print(f"      {told.get('description', '')}".rstrip())
    print("\ntasks:")
    _tasks(pipeline, pipeline.root["dag"], 2)
    return 0


def _tasks(pipeline: Pipeline, dag: dict[str, dict[str, dict[str, dict[str, str]]]], indent: int) -> None:
    for name, task in dag["tasks"].items():
        component = pipeline.components[task["componentRef"]["name"]]
        condition = task.get("triggerPolicy", {}).get("condition", "")
        after = ", ".join(task.get("dependentTasks", []))
        print(" " * indent + name + (f"  after {after}" if after else "") + (f"  if {condition}" if condition else ""))
        if "dag" in component:
            _tasks(pipeline, component["dag"], indent + 2)


def _run(arguments: argparse.Namespace) -> int:
    from claimed_med.engines.ir import load
    from claimed_med.engines.report import Report

    given = dict(_pair(word) for word in arguments.set)
    _refuse_ignored(arguments)
    _refuse_inside(arguments.out, given)
    path = find(arguments.name, ".yaml")
    pipeline = load(path, foreign=arguments.engine == "local")
    report = Report()
    try:
        code = _engine(arguments, path, report).run(pipeline, given)
    finally:
        report.close()
    print(report.summary())
    print(f"outputs: {arguments.out}/<task>/<port>/", file=sys.stderr)
    return code


def _refuse_ignored(arguments: argparse.Namespace) -> None:
    """Refuse options that would be taken and do nothing.

    Raises:
        ContractError: One is of another engine, stands alone, or names what is not there.
    """
    ours = ("workers", "network_for", "reuse", "task")
    used = [f"--{name.replace('_', '-')}" for name in ours if getattr(arguments, name)]
    if arguments.isolation != "process":
        used.append("--isolation")
    if arguments.engine != "local" and used:
        raise ContractError("pipeline", f"{used[0]} is of --engine local only", got=arguments.engine)
    if arguments.engine == "local" and arguments.platform:
        raise ContractError("pipeline", "--platform is of the other engines", do="add --engine, or leave it out")
    if arguments.network_for and arguments.isolation == "process":
        raise ContractError("pipeline", "--network-for needs --isolation container")
    if bool(arguments.reuse) != bool(arguments.task):
        raise ContractError("pipeline", "--reuse and --task go together", do="name an earlier run and tasks of it")
    for name in arguments.task:
        if not (arguments.reuse / name).is_dir():
            raise ContractError("pipeline", "--reuse holds no outputs of this --task", got=repr(name))
    if arguments.workers < 0:
        raise ContractError("pipeline", "--workers is out of range", got=arguments.workers, allowed="0 or more")


def _refuse_inside(out: Path, given: Mapping[str, str]) -> None:
    """Refuse a run folder in a folder that goes in: the source is never touched, nor its own outputs taken for it.

    Raises:
        ContractError: It lies in one.
    """
    for name, value in given.items():
        if _is_folder(value) and out.resolve().is_relative_to(Path(value).resolve()):
            do = "choose a folder outside of it"
            raise ContractError("pipeline", f"--out lies in the folder of parameter {name}", do=do)


def _is_folder(value: str) -> bool:
    try:
        return bool(value) and Path(value).is_dir()
    except OSError:  # a text that is too long for a path
        return False


def _engine(arguments: argparse.Namespace, path: Path, report: Report) -> Engine:
    from claimed_med.targets import platform

    site = platform.load(arguments.platform)
    if arguments.engine == "slurm":
        from claimed_med.engines.slurm import SlurmEngine

        return SlurmEngine(arguments.out, platform=site, report=report)
    if arguments.engine == "airflow":
        from claimed_med.engines.airflow import AirflowEngine

        return AirflowEngine(arguments.out, platform=site, report=report)
    if arguments.engine == "kubeflow":
        from claimed_med.engines.kubeflow import KubeflowEngine

        return KubeflowEngine(arguments.out, platform=site, report=report, source=path)
    from claimed_med.engines.cache import Cache, default_folder
    from claimed_med.engines.container import ContainerRunner
    from claimed_med.engines.local import LocalEngine

    cache = None if arguments.no_cache else Cache(default_folder())
    runner = ContainerRunner(arguments.out, arguments.network_for) if arguments.isolation == "container" else None
    reused = {name: arguments.reuse / name for name in arguments.task} if arguments.reuse else {}
    return LocalEngine(
        arguments.out, cache=cache, report=report, workers=arguments.workers, runner=runner, given=reused
    )


def _when(arguments: argparse.Namespace) -> int:
    from claimed_med.engines.condition import check, evaluate

    values = dict(_pair(word, "a value of a condition") for word in arguments.values)
    if not check(arguments.condition):
        raise ContractError("pipeline", "the condition is not understood", got=repr(arguments.condition))
    holds = evaluate(arguments.condition, values)
    if arguments.json:
        print(json.dumps({"holds": holds}))
        return 0
    return 0 if holds else SKIPPED


def _pair(word: str, what: str = "--set") -> tuple[str, str]:
    name, found, value = word.partition("=")
    if not found or not name:
        raise ContractError("pipeline", f"{what} takes the form NAME=VALUE", got=repr(name))
    return name, value


def _compile(arguments: argparse.Namespace) -> int:
    if arguments.out is not None and not arguments.out.resolve().parent.is_dir():
        do = "make it, or choose another"
        raise InputError("pipeline", "--out names a file in a folder that is not there", do=do)
    if arguments.target:
        if arguments.check:
            raise ContractError("pipeline", "--check compares the compiled file, and takes no --target")
        return _rendered(arguments)
    if arguments.set or arguments.platform:
        raise ContractError("pipeline", "--set and --platform need a --target", allowed=", ".join(TARGETS))
    from claimed_med.engines.compile import compile_text
    from claimed_med.payload import write_atomic

    source = find(arguments.name, ".py")
    target = arguments.out or source.with_suffix(".yaml")
    text = compile_text(source)
    if arguments.check:
        same = target.is_file() and target.read_text(encoding="utf-8") == text
        state = "up to date" if same else f"out of date; run: claimed-med pipeline compile {source.stem}"
        print(f"{target.name} is {state}")
        return 0 if same else OutputError.exit_code
    write_atomic(target, text)
    print(f"wrote {target.name}")
    return 0


def _rendered(arguments: argparse.Namespace) -> int:
    from claimed_med.engines.render import render
    from claimed_med.payload import write_atomic
    from claimed_med.targets import platform

    source = find(arguments.name, ".yaml")
    given = dict(_pair(word) for word in arguments.set)
    text = render(arguments.target, source, _first_line(source), platform.load(arguments.platform), given)
    if arguments.out is None:
        print(text, end="")
    else:
        write_atomic(arguments.out, text)
        print(f"wrote {arguments.out.name}", file=sys.stderr)
    return 0
