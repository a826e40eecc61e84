"""From the text of a record to the rows of the index, fast: a hospital has millions of them."""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

from claimed_med.lineage import SCHEMA, Record, canonical, digest
from claimed_med.payload import UNITS, sha256_of
from claimed_med.provenance.store import IN, OUT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from claimed_med.provenance.store import Store

_FIELDS = {one.name for one in fields(Record)}
_N_ALWAYS = len(_FIELDS) - 2  # without ancestors, which are no part of the digest, and values, which few have
_Names = dict[tuple[str, str], dict[str, None]]  # (role, unit) -> names, each once
_KEY = 32
MALFORMED = (ValueError, KeyError, TypeError, AttributeError)  # what a record that is none raises
_FILE_NAMES = ("sop_uid", "series_uid", "patient")


class Rows(NamedTuple):
    """What one record adds to the index; its number is filled in when it is added."""

    digest: str
    record: tuple[str, ...]
    parents: list[tuple[str, str]]
    names: list[tuple[str, str, list[str]]]  # (role, unit, names)

    @property
    def place(self) -> str:
        """Folder in which the record lies, or '' when it was met as an ancestor."""
        return self.record[4]


class Found(NamedTuple):
    """What the file of one record adds.

    Attributes:
        rows: Of the record, then of its ancestors.
        forged: Digests under which it carries what is no such record; nothing of that is taken.
    """

    rows: list[Rows]
    forged: list[str]


class Ancestor(NamedTuple):
    """A record that another carries, and that is what it is carried as.

    Attributes:
        content: Without its own ancestors.
        files: sha256 of every file that it lists.
    """

    content: dict[str, Any]
    files: frozenset[str]


def rows_of(text: bytes, place: str, known: dict[str, Ancestor] | None = None) -> Found:
    """The rows of a record and of all its ancestors.

    An ancestor counts only when it is the record of the digest under which it stands. One that is not is named; the
    record itself is as good as before, since what it says of its parents is their digests.

    Args:
        text: Content of a lineage.json.
        place: Folder in which it lies.
        known: Digest -> ancestor, for those that were given already and are not given again; grows.

    Raises:
        ValueError: It is no record of a known version; or any other of `MALFORMED`.
    """
    content = _parsed(text)
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or not _FIELDS.issuperset(content):
        raise ValueError("no record")
    known = {} if known is None else known
    sound: dict[str, frozenset[str]] = {}
    fresh: dict[str, bytes] = {}
    forged: list[str] = []
    for name, carried in content.pop("ancestors", {}).items():
        try:
            carried.pop("ancestors", None)
            if name not in known:
                fresh[name] = _body_of(carried, name)
                known[name] = Ancestor(carried, frozenset(one["sha256"] for one in carried.get("files", {}).values()))
            elif carried != known[name].content:
                forged.append(name)
            sound[name] = known[name].files
        except MALFORMED:
            forged.append(name)
    rows = [_rows(content, *_named(content), sound, place)]
    for name, body in fresh.items():
        try:
            rows.append(_rows(known[name].content, body, name, sound, ""))
        except MALFORMED:
            forged.append(name)
            known.pop(name, None)
    return Found(rows, forged)


def add(store: Store, found: list[tuple[int, Rows]], places: list[tuple[str, int]]) -> None:
    """Add numbered rows to the database, and the places of records that were met as ancestors before."""
    store.insert("records", [(number, rows.digest, *rows.record) for number, rows in found])
    store.insert("parents", [(number, *edge) for number, rows in found for edge in rows.parents])
    named = ((name, role, unit, number) for number, rows in found for role, unit, names in rows.names for name in names)
    store.insert("names", named)
    if places:
        store.change("UPDATE records SET place = ? WHERE number = ?", places)


def key_of(name: str) -> str:
    """A name as the index has it: half of a sha256 is enough, and an index of half the size is twice as fast."""
    return name[:_KEY] if len(name) == 2 * _KEY else name


def _body_of(ancestor: Mapping[str, Any], name: str) -> bytes:
    body, own = _named(ancestor)
    if own != name:
        raise ValueError("an ancestor that was altered")
    return body


def _named(content: Mapping[str, Any]) -> tuple[bytes, str]:
    """The text of a record without ancestors, and its digest."""
    body = _canonical(content)
    if len(content) - bool(content.get("values")) == _N_ALWAYS:
        return body, sha256_of(body)
    return body, _slow_digest(content)


def _rows(
    content: Mapping[str, Any], body: bytes, known: str, ancestors: Mapping[str, frozenset[str]], place: str
) -> Rows:
    head = (content["component"], content["version"], content["port"], content.get("payload", ""))
    parents = content.get("parents", {})
    if not all(isinstance(one, str) for one in (*head, *parents.values())):
        raise ValueError("no record")
    known_ports = {port for port, parent in parents.items() if parent in ancestors}  # behind a border there is none
    came_in = {one for port in known_ports for one in ancestors[parents[port]]}
    names: _Names = defaultdict(dict)
    came = names[IN, ""]
    for one in (content.get("weights"), *content.get("locations", {}).values()):
        if one:
            came[key_of(one)] = None
    if content.get("payload"):
        names[OUT, ""][key_of(content["payload"])] = None
    units = content.get("units", ())
    _name_files(content.get("files", {}), {unit["key"] for unit in units}, came_in, names)
    for one in units:
        _name_unit(one, known_ports, names)
    listed = [(role, unit, list(found)) for (role, unit), found in names.items() if found]
    return Rows(known, (*head, place, body.decode()), list(parents.items()), listed)


def _name_files(files: Mapping[str, Mapping[str, str]], keys: set[str], came_in: set[str], names: _Names) -> None:
    """Add what the files of a record are called; one that was only handed on bears its names where it was made.

    Objects that enter have UIDs, and there are many of them: their digests are left out.
    """
    for file, told in files.items():
        content = told["sha256"]
        if content in came_in or file == UNITS:
            continue
        start = file.partition("/")[0]
        made = names[OUT, start if start in keys else ""]
        for field in _FILE_NAMES:
            if one := told.get(field):
                made[key_of(one)] = None
        if not told.get("patient"):
            made[content[:_KEY]] = None


def _name_unit(unit: Mapping[str, Any], known_ports: set[str], names: _Names) -> None:
    """Instances are named where they came in without a record; else those of the record before say it."""
    key = unit["key"]
    came = names[IN, key]
    if unit.get("identity"):
        names[OUT, key][key_of(unit["identity"])] = None
    for port, told in unit.get("inputs", {}).items():
        came[key_of(told["digest"])] = None
        for field in ("series_uids", "patients") if port in known_ports else ("sop_uids", "series_uids", "patients"):
            for one in told.get(field, ()):
                came[key_of(one)] = None


@functools.cache
def _orjson() -> Any:
    """An optional package: without it all is the same, at a third of the speed."""
    try:
        import orjson
    except ModuleNotFoundError:
        return None
    return orjson


def _parsed(text: bytes) -> Any:
    fast = _orjson()
    return json.loads(text) if fast is None else fast.loads(text)


def _canonical(content: Mapping[str, Any]) -> bytes:
    """As `lineage.canonical`; the two write some numbers differently, so records with such numbers go the slow way."""
    fast = _orjson()
    if fast is None or _has_odd_number(
        (*content.get("settings", {}).values(), *content.get("environment", {}).values())
    ):
        return canonical(content).encode()
    return bytes(fast.dumps(content, option=fast.OPT_SORT_KEYS))


def _has_odd_number(values: Iterable[Any]) -> bool:
    """Whether there is a number with an exponent."""
    for one in values:
        if isinstance(one, list | dict):
            if _has_odd_number(one.values() if isinstance(one, dict) else one):
                return True
        elif isinstance(one, float) and "e" in repr(one):
            return True
    return False


def _slow_digest(content: Mapping[str, Any]) -> str:
    filled = Record.from_dict(content).as_dict()
    filled.pop("ancestors")
    return digest(filled)
