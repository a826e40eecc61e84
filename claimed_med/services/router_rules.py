"""RULES.toml of the router: where objects come in, where results go, and which study goes which way.

Every table is a frozen dataclass below; a key that is no field of it, and a value of another type, is refused by name.
All faults of a file are told at once.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

from claimed_med.dicom import rules
from claimed_med.errors import ContractError, InputError

if TYPE_CHECKING:
    from pathlib import Path

ON_INCOMPLETE = ("wait", "process", "discard")
TABLES = frozenset({"receiver", "router", "destination", "rule"})
_QUIET_S = 60.0
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Work:
    """Table `router`: how work is done.

    Attributes:
        workers: Studies at once.
        attempts: Tries until a study has failed, as long as a destination does not answer.
        refusals: Tries until a study has failed, when a destination refuses objects or a run fails.
        first_pause_s: Before the second try [s]; doubled each time.
        longest_pause_s: Longest pause [s].
        keep_days: After so many days objects and runs of stored studies are removed [d]; 0: never.
    """

    workers: int = 2
    attempts: int = 100
    refusals: int = 3
    first_pause_s: float = 5.0
    longest_pause_s: float = 600.0
    keep_days: float = 0.0

    def pause_s(self, n_tries: int) -> float:
        """Pause after so many tries [s]."""
        return float(min(self.longest_pause_s, self.first_pause_s * 2 ** min(n_tries - 1, 32)))


@dataclass(frozen=True)
class Destination:
    """Table `destination.NAME`: a DICOMweb service or a DICOM node.

    Attributes:
        name: Its name in this file.
        url: Base address of the DICOMweb service; credentials come from the environment.
        node: `[tls:]AET@host:port`.
        aet: Our AE title there.
    """

    name: str
    url: str = field(default="", repr=False)
    node: str = field(default="", repr=False)
    aet: str = "CLAIMED_MED"


@dataclass(frozen=True)
class Completeness:
    """Table `rule.complete`: when a study is whole.

    Attributes:
        required: Rules; a series must match each. NumberOfSlices is the number of objects of the series.
        quiet_s: Time without any new object [s]; 0: no such condition. Default: 60 where nothing is required.
        patience_s: How long after the last object a study without the required series counts as on its way [s].
        on_incomplete: After that: go on waiting, process it as it is, or discard it (nothing is done with it).
    """

    required: tuple[str, ...] = ()
    quiet_s: float = -1.0
    patience_s: float = 3600.0
    on_incomplete: str = "wait"


@dataclass(frozen=True)
class RouteRule:
    """Table `rule`: which studies, and what becomes of them.

    Attributes:
        name: Shown in status and history.
        when: Rule on attributes; a study matches when one of its series does. The first rule that matches counts.
        forward: Destinations of the objects as they were received; they go out first.
        pipeline: Name or file of a pipeline to run.
        component: Name of a component to run instead.
        input: Pipeline parameter (or input port) that gets the folder of the study; '' for none.
        settings: Of pipeline or component; `{study_uid}` in a text becomes the StudyInstanceUID.
        take: Which outputs are results: patterns of `task/port` (of a component: `port`).
        results: Destinations of the results.
        limit_s: Longest run [s].
        complete: When a study is whole.
    """

    name: str
    when: str = ""
    forward: tuple[str, ...] = ()
    pipeline: str = ""
    component: str = ""
    input: str = "path"
    settings: Mapping[str, Any] = field(default_factory=dict)
    take: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    limit_s: float = 86400.0
    complete: Completeness = field(default_factory=Completeness)

    @property
    def runs(self) -> bool:
        """Whether anything is computed."""
        return bool(self.pipeline or self.component)


@dataclass(frozen=True)
class RuleBook:
    """A file of rules.

    Attributes:
        receiver: Table `receiver`, as the receiver's settings take it.
        work: Table `router`.
        destinations: By name.
        rules: In the order of the file.
    """

    receiver: Mapping[str, Any]
    work: Work
    destinations: Mapping[str, Destination]
    rules: tuple[RouteRule, ...]


def load(path: Path) -> RuleBook:
    """Read a file of rules.

    Raises:
        InputError: It cannot be read.
        ContractError: Something in it is wrong.
    """
    try:
        return read(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        do = "name a TOML file with rules"
        raise InputError("route", "the file of rules cannot be read", got=type(error).__name__, do=do) from None


def read(text: str) -> RuleBook:
    """Read rules from TOML text; see `load`."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ContractError("route", "the rules are no TOML", got=str(error)) from None
    faults = [f"there is no table {name}" for name in sorted(content.keys() - TABLES)]
    work = _record(Work, content.get("router", {}), "router", faults)
    destinations = {
        name: _record(Destination, {**_table(given, f"destination.{name}", faults), "name": name}, name, faults)
        for name, given in _table(content.get("destination", {}), "destination", faults).items()
    }
    listed = content.get("rule", [])
    found = [_rule(given, number, faults) for number, given in enumerate(listed, 1)] if isinstance(listed, list) else []
    book = RuleBook(_table(content.get("receiver", {}), "receiver", faults), work, destinations, tuple(found))
    faults += [] if faults else _faults(book)
    if faults:
        raise ContractError("route", f"the rules are wrong: {'; '.join(faults)}", do="see docs/routing.md")
    return book


def _rule(given: Any, number: int, faults: list[str]) -> RouteRule:
    where = f"rule {number}"
    table = dict(_table(given, where, faults))
    named = str(table.setdefault("name", ""))
    where = f"rule {named or number}"
    complete = _record(Completeness, table.pop("complete", {}), f"{where}, complete", faults)
    if complete.quiet_s < 0:
        complete = dataclasses.replace(complete, quiet_s=0.0 if complete.required else _QUIET_S)
    if "component" in table:
        table.setdefault("input", "")
    return dataclasses.replace(_record(RouteRule, table, where, faults), complete=complete)


def _table(given: Any, where: str, faults: list[str]) -> Mapping[str, Any]:
    if isinstance(given, dict):
        return given
    faults.append(f"{where} is no table")
    return {}


def _record(kind: Callable[..., Kind], given: Any, where: str, faults: list[str]) -> Kind:
    """Fill a dataclass from a table; what does not fit becomes a fault."""
    types = get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, value in _table(given, where, faults).items():
        if name not in types or name == "complete":
            faults.append(f"{where}: there is no key {name}")
        elif (fitting := _fitted(value, types[name])) is None:
            faults.append(f"{where}: {name} has a value of another type")
        else:
            values[name] = fitting
    values.setdefault("name", "") if "name" in types else None
    return kind(**values)


def _fitted(value: Any, kind: Any) -> Any:
    """The value as its field wants it, None when it does not fit."""
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        return tuple(value) if isinstance(value, list) and all(isinstance(one, item) for one in value) else None
    if get_origin(kind) is not None:
        return value if isinstance(value, dict) else None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value if type(value) is kind else None


def _faults(book: RuleBook) -> list[str]:
    faults = [] if book.rules else ["there is no rule"]
    names = [one.name for one in book.rules]
    faults += [f"rule {number} has no name" for number, name in enumerate(names, 1) if not name]
    faults += [f"two rules are named {name}" for name in sorted({one for one in names if one and names.count(one) > 1})]
    faults += _work_faults(book.work)
    for destination in book.destinations.values():
        faults += _destination_faults(destination)
    for rule in book.rules:
        faults += [f"rule {rule.name}: {one}" for one in _rule_faults(rule, book)]
    return faults


def _work_faults(work: Work) -> list[str]:
    limits = {
        "workers": 1 <= work.workers <= 64,
        "attempts": work.attempts >= 1,
        "refusals": work.refusals >= 1,
        "first_pause_s": work.first_pause_s > 0,
        "longest_pause_s": work.longest_pause_s > 0,
        "keep_days": work.keep_days >= 0,
    }
    return [f"router: {name} is out of range" for name, fits in limits.items() if not fits]


def _destination_faults(destination: Destination) -> list[str]:
    from claimed_med.dicom.net_node import Node
    from claimed_med.dicom.web_auth import Credentials, check_address

    if bool(destination.url) == bool(destination.node):
        return [f"destination {destination.name}: needs either url or node"]
    try:
        if destination.url:
            check_address(destination.url, Credentials())
        else:
            Node.parse(destination.node, calling_aet=destination.aet)
    except ContractError as error:
        return [f"destination {destination.name}: {error.what}"]
    return []


def _rule_faults(rule: RouteRule, book: RuleBook) -> list[str]:
    used = (*rule.forward, *rule.results)
    faults = [f"there is no destination {name}" for name in sorted(set(used) - set(book.destinations))]
    if rule.pipeline and rule.component:
        faults.append("pipeline and component exclude each other")
    if not rule.runs and not rule.forward:
        faults.append("needs forward, pipeline or component")
    if bool(rule.results) != bool(rule.take):
        faults.append("results and take go together")
    if (rule.results or rule.settings) and not rule.runs:
        faults.append("results and settings need a pipeline or component")
    if rule.complete.on_incomplete not in ON_INCOMPLETE:
        faults.append(f"on_incomplete is none of {', '.join(ON_INCOMPLETE)}")
    if min(rule.complete.patience_s, rule.limit_s) <= 0:
        faults.append("patience_s and limit_s must be above 0")
    if not rule.complete.required and not rule.complete.quiet_s:
        faults.append("complete: needs required series, quiet_s, or both")
    for words in (rule.when, *rule.complete.required):
        try:
            rules.parse(words)
        except ContractError as error:
            faults.append(f"{error.what}, {error.got}")
    return faults
