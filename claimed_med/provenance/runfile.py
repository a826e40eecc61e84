"""`run.json`: what a pipeline run was, beside the records of its tasks. Standard library only at the top.

It holds the compiled pipeline and the parameters, without any text through which data enter or leave (locations and
addresses: the values that `withheld` names), the versions of all installed packages, and the digest of it all. Every
engine writes it when a run starts, so that a run can be done again from its folder alone.
"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from claimed_med import lineage
from claimed_med.errors import InputError
from claimed_med.payload import write_atomic
from claimed_med.provenance.withheld import without_places

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NAME = "run.json"
SCHEMA = "claimed-med/run/1"


@dataclass(frozen=True)
class RunFile:
    """What a pipeline run was.

    Attributes:
        pipeline: Its name.
        engine: Where it ran.
        parameters: Every pipeline parameter that may be recorded, by name, as text.
        withheld: Parameter -> `location` or `address`: its text is not recorded.
        ir: The compiled pipeline, as JSON-ready values.
        ir_digest: sha256 of its canonical JSON.
        packages: Every installed package with its version.
        environment: Python, platform, version of this package, SOURCE_DATE_EPOCH where it was set.
        schema: Version of this format.
    """

    pipeline: str
    engine: str
    parameters: dict[str, Any]
    withheld: dict[str, str]
    ir: dict[str, Any] = field(repr=False)
    ir_digest: str = ""
    packages: dict[str, str] = field(default_factory=dict, repr=False)
    environment: dict[str, str] = field(default_factory=dict)
    schema: str = SCHEMA

    def to_json(self) -> str:
        """The text of `run.json`."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"

    def is_whole(self) -> bool:
        """Whether the pipeline is the one whose digest is recorded."""
        return lineage.digest(self.ir) == self.ir_digest


def describe(name: str, ir: Mapping[str, Any], parameters: Mapping[str, Any], engine: str) -> RunFile:
    """What is recorded of a run.

    Args:
        name: Of the pipeline.
        ir: The compiled pipeline as parsed.
        parameters: All pipeline parameters, defaults included.
        engine: Where it runs.
    """
    cleaned, withheld = without_places(ir)
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    return RunFile(
        pipeline=name,
        engine=engine,
        parameters={key: _typed(ir, key, value) for key, value in sorted(parameters.items()) if key not in withheld},
        withheld=withheld,
        ir=cleaned,
        ir_digest=lineage.digest(cleaned),
        packages=dict(lineage.installed_versions()),
        environment={
            "claimed_med": lineage.package_version(),
            "python": platform.python_version(),
            "platform": f"{platform.system()} {platform.machine()}",
            **({"source_date_epoch": epoch} if epoch else {}),
        },
    )


def _typed(ir: Mapping[str, Any], name: str, value: Any) -> Any:
    """A parameter as it is given on a command line: a compiled pipeline holds whole numbers as 3.0."""
    kind = ir["root"].get("inputDefinitions", {}).get("parameters", {}).get(name, {}).get("parameterType", "")
    return int(value) if kind == "NUMBER_INTEGER" and isinstance(value, float) else value


def write(folder: Path, run: RunFile) -> Path:
    """Write `run.json` into a run folder, all or nothing."""
    path = folder / NAME
    write_atomic(path, run.to_json())
    return path


def read(folder: Path) -> RunFile | None:
    """The `run.json` of a run folder, or None.

    Raises:
        InputError: The file is there, but is none of a known version.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("schema") != SCHEMA:
            raise InputError("lineage", "run.json has an unknown version", got=content.get("schema"))
        return RunFile(**content)
    except (ValueError, TypeError, AttributeError):
        raise InputError("lineage", "run.json cannot be read", do="restore it, or run the pipeline again") from None
