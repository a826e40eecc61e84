"""Questions to the index: where does this object come from, and what was made with that study."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from claimed_med.lineage import Record
from claimed_med.provenance.rows import key_of
from claimed_med.provenance.store import IN, OUT
from claimed_med.provenance.trace import Step, Trace
from claimed_med.secret import keyed_hash

if TYPE_CHECKING:
    from collections.abc import Iterable

    from claimed_med.provenance.store import Store

_MOST_MAKERS = 50  # of the same object
_MADE = "SELECT DISTINCT record, unit FROM names WHERE name = ? AND role = ?"
_NAMED = "SELECT DISTINCT record, unit FROM names WHERE name IN (?)"
_RECORD = "SELECT number, digest, place, body FROM records WHERE "


@dataclass(frozen=True)
class Known:
    """One record as the index has it.

    Attributes:
        number: In the index.
        digest: Of the record.
        place: Folder in which it lay when the index was built, or '' when only its descendants carry it.
        record: The record, without ancestors.
    """

    number: int
    digest: str
    place: str
    record: Record


@dataclass(frozen=True)
class Use:
    """One run that used, or may have used, what was asked for.

    Attributes:
        record: Of one of its output ports.
        digest: Of that record.
        place: Where it lay, or ''.
        unit: Unit of work that it was used for, or '' for a run on the whole cohort.
        n_steps: Steps from where it entered.
        certain: False behind a run on a whole cohort, which may have left it out.
    """

    record: Record
    digest: str
    place: str
    unit: str
    n_steps: int
    certain: bool

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        record = self.record
        return {
            "component": record.component,
            "version": record.version,
            "port": record.port,
            "record": self.digest,
            "payload": record.payload,
            "unit": self.unit,
            "place": self.place,
            "n_steps": self.n_steps,
            "certain": self.certain,
        }


def by_digest(store: Store, digests: Iterable[str]) -> dict[str, Known]:
    """The records with these digests."""
    return {one.digest: one for one in map(_known, store.rows_in(f"{_RECORD} digest IN (?)", digests))}


def by_number(store: Store, numbers: Iterable[int]) -> dict[int, Known]:
    """The records with these numbers in the index."""
    wanted = sorted(set(numbers))
    found = []
    for start in range(0, len(wanted), 500):
        part = wanted[start : start + 500]
        found += store.rows(f"{_RECORD} number IN ({', '.join('?' * len(part))})", part)
    return {one.number: one for one in map(_known, found)}


def trace(store: Store, names: Iterable[str]) -> list[Trace]:
    """The ways back of everything that bears one of these names; the first name that is known counts.

    Args:
        store: The index.
        names: SOPInstanceUID, file digest, payload digest ... of an object, best first.

    Returns:
        One trace a run that made the object; several when it was made more than once.
    """
    for name in names:
        hits = store.rows(f"{_MADE} ORDER BY record LIMIT {_MOST_MAKERS}", (key_of(name), OUT))
        if hits:
            made = by_number(store, (number for number, _ in hits))
            found = [_back(store, made[number], unit) for number, unit in hits]
            makers = {one.steps[0].digest for one in found}
            # a run that only hands an object on has the one that made it behind itself
            first = [one for one in found if not makers & {step.digest for step in one.steps[1:]}]
            return sorted(first, key=lambda one: (len(one.steps), one.steps[0].digest))
    return []


def _back(store: Store, start: Known, unit: str) -> Trace:
    done = frozenset(one.key for one in start.record.units if one.status == "done" and one.key)
    found = Trace(unit, "", [], {}, done)
    todo, seen = deque([start]), {start.digest}
    while todo:
        one = todo.popleft()
        parents = {**one.record.parents, **_parents_by_payload(store, one.record, unit)}
        found.steps.append(Step(one.digest, one.record, parents))
        _add_sources(found, one.record)
        known = by_digest(store, parents.values())
        for parent in known.values():
            if parent.digest not in seen:
                seen.add(parent.digest)
                todo.append(parent)
    return found


def _add_sources(found: Trace, record: Record) -> None:
    for unit in record.units:
        if found.covers(unit.key):
            for told in unit.inputs.values():
                if told.get("sop_uids"):
                    found.sources[unit.key] = sorted({*found.sources.get(unit.key, []), *told["sop_uids"]})


def _parents_by_payload(store: Store, record: Record, unit: str) -> dict[str, str]:
    """Input ports whose record was not beside them (a bundle that was copied): who made that very payload."""
    lost = {
        port: told["digest"]
        for one in record.units
        if not unit or one.key in {unit, ""}
        for port, told in one.inputs.items()
        if port not in record.parents
    }
    found = {}
    for port, payload in lost.items():
        statement = "SELECT r.digest FROM names n JOIN records r ON r.number = n.record WHERE n.name = ? AND n.role = ?"
        made = store.rows(f"{statement} ORDER BY r.number LIMIT 1", (key_of(payload), OUT))
        if made and made[0][0] != record.digest():
            found[port] = made[0][0]
    return found


def where_used(store: Store, name: str, *, across_borders: bool = True) -> list[Use]:
    """Every run that used a patient, series, object or payload, and all that was made from it.

    Behind de-identification the index holds keyed hashes only; they are found by whoever has the secret.

    Args:
        store: The index.
        name: Patient key, SOP or series UID, digest of a file, payload, location, weights or record.
        across_borders: Look behind de-identification too, with the secret of the environment.

    Returns:
        Nearest first; each output port of a run once for every unit of work.
    """
    hits = _hits(store, name, across_borders=across_borders)
    names = _aliases(name, across_borders=across_borders)
    uses: dict[tuple[int, str], Use] = {}
    todo: deque[tuple[int, str, int, bool]] = deque((number, unit, 0, True) for number, unit in sorted(hits))
    while todo:
        number, unit, n_steps, certain = todo.popleft()
        if (number, unit) in uses:
            continue
        one = by_number(store, [number])[number]
        uses[number, unit] = Use(one.record, one.digest, one.place, unit, n_steps, certain)
        for child, child_unit, sure in _next(store, one, unit, hits, names, across_borders=across_borders):
            todo.append((child, child_unit, n_steps + 1, certain and sure))
    return sorted(uses.values(), key=lambda use: (use.n_steps, use.record.component, use.unit, use.record.port))


def _hits(store: Store, name: str, *, across_borders: bool) -> set[tuple[int, str]]:
    """(record, unit) of everything that bears the name itself."""
    names = _aliases(name, across_borders=across_borders)
    found = {(int(number), unit) for number, unit in store.rows_in(_NAMED, map(key_of, names))}
    found |= {(int(number), "") for (number,) in store.rows("SELECT number FROM records WHERE digest = ?", (name,))}
    if across_borders:
        members = _members(store, found, name)
        found |= {(int(number), unit) for number, unit in store.rows_in(_NAMED, map(key_of, members))}
    return found


def _aliases(name: str, *, across_borders: bool) -> set[str]:
    """A name, and what it is called behind a border."""
    behind = {keyed_hash(kind, name) for kind in ("uid", "digest", "patient", "record")} if across_borders else set()
    return {name, *behind}


def _members(store: Store, hits: set[tuple[int, str]], name: str) -> set[str]:
    """Keyed hashes of the objects of a series or patient: a border names nothing but objects."""
    found = set()
    for one in by_number(store, {number for number, _ in hits}).values():
        for told in one.record.files.values():
            if name in {told.get("series_uid"), told.get("patient")} and told["sop_uid"]:
                found.add(keyed_hash("uid", told["sop_uid"]))
    return found


def _next(
    store: Store, one: Known, unit: str, hits: set[tuple[int, str]], names: set[str], *, across_borders: bool
) -> list[tuple[int, str, bool]]:
    """Children: (number, unit, whether it is certain that this unit was used)."""
    digests = {one.digest} | ({keyed_hash("record", one.digest)} if across_borders else set())
    children = store.rows_in("SELECT DISTINCT child FROM parents WHERE parent IN (?)", digests)
    numbers = {int(child) for (child,) in children}
    by_payload = "SELECT DISTINCT record FROM names WHERE name = ? AND role = ?"
    numbers |= {int(child) for (child,) in store.rows(by_payload, (key_of(one.record.payload), IN))} - {one.number}
    found = []
    for number, child in by_number(store, numbers).items():
        for key, certain in _units_reached(child.record, number, unit, hits, names):
            found.append((number, key, certain))
    return found


def _units_reached(
    record: Record, number: int, unit: str, hits: set[tuple[int, str]], names: set[str]
) -> list[tuple[str, bool]]:
    """Units of a child that a unit of its parent flows into.

    A run on the whole cohort takes everything, as far as anybody can tell from outside. Units of a child are those of
    the same key; where the child looked into a folder itself, those in which it found what was asked for.
    """
    keys = [one.key for one in record.units if one.status == "done"]
    if keys in ([""], []):
        return [("", (number, "") in hits)]
    held = {
        one.key
        for one in record.units
        for told in one.inputs.values()
        if not names.isdisjoint(told.get("sop_uids", ()))
    }
    named = [key for key in keys if (number, key) in hits or key in held]
    if named:
        return [(key, True) for key in named]
    if unit:
        return [(unit, True)] if unit in keys else []
    scanned = any(told.get("sop_uids") for one in record.units for told in one.inputs.values())
    return [] if scanned else [(key, False) for key in keys]


def _known(row: tuple[Any, ...]) -> Known:
    number, digest, place, body = row
    content = json.loads(body)
    content["ancestors"] = {}
    return Known(int(number), digest, place, Record.from_dict(content))
