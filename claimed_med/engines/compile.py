"""Compile a pipeline file with kfp, and check what kfp does not: handle types, and caching where data enter."""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimed_med import registry
from claimed_med.engines.foreign import is_foreign
from claimed_med.engines.ir import Pipeline, load
from claimed_med.errors import ContractError, require

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from claimed_med.component import Contract

# A port on the right takes what comes from a port on the left.
FITS = {
    ("DicomCollection", "DicomSeries"),
    ("DicomSeries", "DicomCollection"),
    ("DicomStudy", "DicomCollection"),
    ("DicomCollection", "DicomStudy"),
    ("DicomSegmentation", "DicomCollection"),
    ("DicomReport", "DicomCollection"),
    ("DicomCapture", "DicomCollection"),
    ("DicomMap", "DicomCollection"),
}
ANYTHING = "Asset"


def compile_text(source: Path) -> str:
    """The IR of a pipeline file, as text.

    Args:
        source: A Python file that defines a `@dsl.pipeline` function of its own name.

    Raises:
        MissingDependencyError: kfp is not installed.
        ContractError: The file defines no such pipeline, or ports do not fit one another.
    """
    require("kfp", "kfp")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from kfp import compiler

        pipeline = _pipeline_of(source)
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "pipeline.yaml"
            compiler.Compiler().compile(pipeline, str(target))
            check(load(target, foreign=True))
            return target.read_text(encoding="utf-8")


def check(pipeline: Pipeline) -> None:
    """Check a pipeline against the contracts of its components.

    Raises:
        ContractError: Handle types do not fit, or a task through which data enter is cached by its path.
    """
    faults = sorted(_faults(pipeline, pipeline.root["dag"], {}, ""))
    if faults:
        raise ContractError(pipeline.name, "; ".join(faults), do="connect ports of the same kind")


def _pipeline_of(source: Path) -> Any:
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(f"claimed_med_pipeline_{source.stem}", source)
    if spec is None or spec.loader is None or not source.is_file():
        raise ContractError("pipeline", "there is no such pipeline file", got=source.name)
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, NameError, ImportError) as error:
        at = f" in line {error.lineno}" if isinstance(error, SyntaxError) else ""
        do = "run it with python to see where"
        got = f"{type(error).__name__}{at}"
        raise ContractError(source.stem, "the file cannot be loaded as Python", got=got, do=do) from None
    found = getattr(module, source.stem, None)
    if found is None:
        raise ContractError(
            source.stem, "the file defines no pipeline of its own name", do=f"define def {source.stem}(...)"
        )
    return found


def _faults(pipeline: Pipeline, dag: Mapping[str, Any], entered: Mapping[str, str], path: str) -> Iterator[str]:
    """Faults of one DAG; `entered` holds the kinds of its input artifacts."""
    for name, task in dag.get("tasks", {}).items():
        component = pipeline.components[task["componentRef"]["name"]]
        inputs = {
            port: _source_kind(pipeline, dag, source, entered)
            for port, source in task.get("inputs", {}).get("artifacts", {}).items()
        }
        if "dag" in component:
            yield from _faults(pipeline, component["dag"], inputs, f"{path}{name}/")
            continue
        if is_foreign(pipeline.container(dict(component))):
            continue
        contract = _contract(pipeline, component)
        for port in contract.inputs:
            kind = inputs.get(port.name, "")
            if (
                kind
                and kind != port.kind
                and ANYTHING not in {kind, port.kind}
                and not ((kind, port.kind) in FITS and (contract.over or port.kind != "DicomSeries"))
            ):
                yield f"{path}{name}: port {port.name} takes a {port.kind}; got a {kind}"
        cached = task.get("cachingOptions", {}).get("enableCache", False)
        if cached and (contract.talks or any(setting.is_location for setting in contract.settings)):
            yield f"{path}{name}: data enter or leave here, so its caching must be off (set_caching_options(False))"


def _source_kind(
    pipeline: Pipeline, dag: Mapping[str, Any], source: Mapping[str, Any], entered: Mapping[str, str]
) -> str:
    if "componentInputArtifact" in source:
        return entered.get(source["componentInputArtifact"], "")
    origin = source["taskOutputArtifact"]
    return _output_kind(pipeline, dag, origin["producerTask"], origin["outputArtifactKey"])


def _output_kind(pipeline: Pipeline, dag: Mapping[str, Any], task: str, port: str) -> str:
    component = pipeline.components[dag["tasks"][task]["componentRef"]["name"]]
    if "dag" not in component and is_foreign(pipeline.container(dict(component))):
        return ""
    if "dag" not in component:
        return _contract(pipeline, component).output(port).kind
    selectors = component["dag"].get("outputs", {}).get("artifacts", {}).get(port, {}).get("artifactSelectors", [])
    kinds = {
        _output_kind(pipeline, component["dag"], one["producerSubtask"], one["outputArtifactKey"]) for one in selectors
    }
    return kinds.pop() if len(kinds) == 1 else ""


def _contract(pipeline: Pipeline, component: Mapping[str, Any]) -> Contract:
    return registry.get(pipeline.container(dict(component))["command"][2]).contract
