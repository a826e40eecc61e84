"""The lineage record: what a run was, what went in, what came out. Standard library only.

One `lineage.json` lies beside the payload of every output port. It holds digests and UIDs only, never a patient
attribute, a path or a location. `Identity` is what decides the bytes of a result; all else is recorded beside it.
The records of all upstream ports stand in `ancestors`, each under its own digest, so that a folder that is carried
elsewhere still leads back to its source SOP instances.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import platform
import re
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimed_med.errors import InputError
from claimed_med.payload import LINEAGE, UNITS, digest_files, files_below, payload_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claimed_med.component import Contract

SCHEMA = "claimed-med/lineage/1"
APART = "apart"  # environment["values"] where they were not put beside the port
FOREIGN = "foreign/"  # starts the name of a component that is a container of others
_MAPPINGS = ("settings", "locations", "parents", "ancestors", "files", "values", "environment")
_REQUIRED = re.compile(r"^[A-Za-z0-9_.-]+")
_line = json.JSONEncoder(sort_keys=True).encode
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


def canonical(content: Any) -> str:
    """JSON in one spelling: sorted keys, no spaces."""
    return _canonical(content)


def digest(content: Any) -> str:
    """The sha256 of the canonical JSON of a value, in hex."""
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def identity(
    contract: Contract,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str],
    weights: str,
    locations: Mapping[str, str],
) -> str:
    """The identity of a run: what decides its bytes, and nothing else.

    Args:
        contract: Of the component.
        settings: Every setting by name; those that are locations are left out.
        inputs: Input port -> payload digest.
        weights: sha256 of the weights, or ''.
        locations: Location setting -> content digest.

    Returns:
        64 hex digits.
    """
    return digest(
        {
            "component": contract.name,
            "version": contract.version,
            "settings": recorded_settings(contract, settings),
            "weights": weights,
            "inputs": dict(inputs),
            "locations": dict(locations),
        }
    )


def recorded_settings(contract: Contract, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that may be recorded: all but locations and addresses."""
    kept = (one.name for one in contract.settings if not (one.is_location or one.is_address))
    return {name: settings[name] for name in kept}


@dataclass
class UnitRecord:
    """One unit of work of a run.

    Attributes:
        key: Unit key, '' for a component of the whole folder.
        status: `done`, `quarantined` or `absent`.
        identity: Identity of the run on this unit.
        inputs: Port -> {"digest": payload digest}; where the data entered from outside also "sop_uids", "series_uids"
            and "patients" (keys derived with the secret).
        repairs: What was done to the geometry on reading, by opt-in.
        statements: What the component says about this run (`precision`, `deterministic`, digest of a policy ...).
    """

    key: str
    status: str
    identity: str
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    repairs: list[str] = field(default_factory=list)
    statements: dict[str, str] = field(default_factory=dict)


@dataclass
class Record:
    """The record of one output port of one run.

    Attributes:
        component: Name of the component.
        version: Its version.
        port: The output port beside which the record lies.
        settings: As recorded.
        locations: Location setting -> content digest.
        weights: sha256 of the weights, or ''.
        units: One entry a unit.
        parents: Input port -> digest of the record of the port that made it.
        ancestors: Record digest -> that record, for all records upstream.
        files: Relative name -> {"sha256", "sop_uid"}; for DICOM objects also "series_uid" where it is known, and
            "patient" (a key derived with the secret) where they enter.
        payload: Payload digest of the port folder.
        values: Value output of the same run -> sha256 of its text. A short text can be guessed from it, as from the
            pages and databases of engines that show it: a value says nothing of a patient, and the battery checks it.
        environment: Where and when: never part of the identity.
        schema: Version of this format.
    """

    component: str
    version: str
    port: str
    settings: dict[str, Any]
    locations: dict[str, str] = field(default_factory=dict)
    weights: str = ""
    units: list[UnitRecord] = field(default_factory=list)
    parents: dict[str, str] = field(default_factory=dict)
    ancestors: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, dict[str, str]] = field(default_factory=dict)
    payload: str = ""
    values: dict[str, str] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    schema: str = SCHEMA

    def as_dict(self) -> dict[str, Any]:
        """The record as JSON-ready values; they are those of the record, not copies: a record may be large.

        Without values it is as it was before there were any in records, so that its digest is, too.
        """
        told = {**vars(self), "units": [dict(vars(unit)) for unit in self.units]}
        if not self.values:
            del told["values"]
        return told

    def to_json(self) -> str:
        """The text of `lineage.json`: one line for every file, unit, ancestor and setting, so that two can be compared.

        Ten times as fast as the indentation of `json`, which is done in Python.
        """
        entries = (f"{_line(name)}: {_lines(value)}" for name, value in sorted(self.as_dict().items()))
        return "{\n" + ",\n".join(entries) + "\n}\n"

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Record:
        """The record from parsed JSON."""
        values = dict(content)
        if not all(isinstance(values.get(name, {}), dict) for name in _MAPPINGS):
            raise TypeError("a field that is no mapping")
        values["units"] = [UnitRecord(**unit) for unit in values.get("units", [])]
        return cls(**values)

    def digest(self) -> str:
        """The digest under which children name this record: all of it but its own ancestors."""
        return digest({name: value for name, value in self.as_dict().items() if name != "ancestors"})

    def with_files_of(self, folder: Path, known: Mapping[str, Mapping[str, str]] | None = None) -> Record:
        """A copy that lists the files of `folder` and their payload digest.

        Args:
            folder: The finished port folder.
            known: Relative name -> {"sop_uid", "series_uid"}, where known.
        """
        digests = digest_files(dict(files_below(folder)))
        return self.with_files(
            {name: {"sha256": value, "sop_uid": "", **(known or {}).get(name, {})} for name, value in digests.items()}
        )

    def with_files(self, files: Mapping[str, Mapping[str, str]]) -> Record:
        """A copy that lists files of which all is known already.

        Args:
            files: Relative name -> {"sha256", "sop_uid", ...}.
        """
        listed = {name: dict(one) for name, one in sorted(files.items()) if name != LINEAGE}
        payload = payload_digest({name: one["sha256"] for name, one in listed.items()})
        return dataclasses.replace(self, files=listed, payload=payload)

    def adopt(self, port: str, parent: Record) -> None:
        """Chain `parent` (the record that lies beside the input of `port`) and all of its ancestors."""
        name = parent.digest()
        self.parents[port] = name
        own = parent.as_dict()
        own["ancestors"] = {}
        self.ancestors = {**self.ancestors, **parent.ancestors, name: own}


def _lines(value: Any) -> str:
    """A mapping or list with an entry a line, anything else on one."""
    if isinstance(value, dict) and value:
        return "{\n " + ",\n ".join(f"{_line(name)}: {_line(value[name])}" for name in sorted(value)) + "\n}"
    if isinstance(value, list) and value:
        return "[\n " + ",\n ".join(map(_line, value)) + "\n]"
    return _line(value)


def read(folder: Path) -> Record | None:
    """The record that lies in `folder`, or in the folder of units to which it belongs, or None.

    Raises:
        InputError: The file is there but is no lineage record of a known version.
    """
    for place in (folder, folder.parent):
        file = place / LINEAGE
        if file.is_file() and (place == folder or (place / UNITS).is_file()):
            try:
                content = json.loads(file.read_text(encoding="utf-8"))
                if content.get("schema") != SCHEMA:
                    raise InputError("lineage", "the record has an unknown version", got=content.get("schema"))
                return Record.from_dict(content)
            except (ValueError, TypeError, AttributeError):
                raise InputError("lineage", "lineage.json cannot be read", do="restore it, or run again") from None
    return None


def now() -> str:
    """The time, for the record only: ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def environment(threads: int, image: str = "") -> dict[str, Any]:
    """Where a run happens: recorded, never part of the identity.

    Args:
        threads: Of the component.
        image: The extra whose packages it uses.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    return {
        **({"source_date_epoch": epoch} if epoch else {}),
        "claimed_med": package_version(),
        "source_revision": source_revision(),
        "image_digest": os.environ.get("CLAIMED_MED_IMAGE_DIGEST", ""),
        "packages": packages_digest(),
        "versions": pinned_versions(image),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "engine": os.environ.get("CLAIMED_MED_ENGINE", "process"),
        "device": _device(),
        "threads": threads,
    }


@functools.cache
def package_version() -> str:
    """The version of this package."""
    try:
        return version("claimed_med")
    except PackageNotFoundError:
        return "0+unknown"


@functools.cache
def packages_digest() -> str:
    """The digest of every installed distribution with its version: the environment lock."""
    return digest(sorted(_distributions()))


@functools.cache
def installed_versions() -> dict[str, str]:
    """Every installed distribution, by its normalised name, with its version."""
    pairs = (found.removesuffix(".dist-info").rpartition("-") for found in sorted(_distributions(), reverse=True))
    return {_normalised(name): number for name, _, number in pairs}


@functools.cache
def pinned_versions(image: str) -> dict[str, str]:
    """The installed versions of all packages that the core and one extra pin; '' for one that is not there."""
    try:
        wanted = requires("claimed_med") or []
    except PackageNotFoundError:
        return {}
    here, found = installed_versions(), {}
    for line in wanted:
        name, marker = _REQUIRED.match(line), line.partition(";")[2]
        if name and ("extra" not in marker or f'"{image}"' in marker.replace("'", '"')):
            found[_normalised(name.group())] = here.get(_normalised(name.group()), "")
    return dict(sorted(found.items()))


@functools.cache
def _distributions() -> frozenset[str]:
    folders = [Path(one) for one in sys.path if one and Path(one).is_dir()]
    return frozenset(found.name for folder in folders for found in folder.glob("*.dist-info"))


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@functools.cache
def source_revision() -> str:
    """The git commit of a checkout, or CLAIMED_MED_REVISION, or ''."""
    given = os.environ.get("CLAIMED_MED_REVISION", "")
    git = Path(__file__).resolve().parent.parent / ".git"
    if given or not git.is_dir():
        return given
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref: "):
        return head
    ref = git / head.removeprefix("ref: ")
    return ref.read_text().strip() if ref.is_file() else ""


def _device() -> str:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return "cpu"
