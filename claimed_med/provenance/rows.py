"""From the text of a record to the rows of the index, fast: a hospital has millions of them."""

from __future__ import annotations

import functools
import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

from claimed_med.lineage import SCHEMA, Record, canonical, digest
from claimed_med.payload import UNITS, sha256_of
from claimed_med.provenance.store import IN, OUT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from claimed_med.provenance.store import Store

_FIELDS = {one.name for one in fields(Record)}


class Rows(NamedTuple):
    """What one record adds to the index; its number is filled in when it is added."""

    digest: str
    record: tuple[str, ...]
    parents: list[tuple[str, str]]
    names: list[tuple[str, str, str]]


def rows_of(text: bytes, place: str) -> Iterator[Rows]:
    """The rows of a record and of all its ancestors.

    Args:
        text: Content of a lineage.json.
        place: Folder in which it lies.

    Raises:
        ValueError: It is no record of a known version.
    """
    content = _parsed(text)
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or not _FIELDS.issuperset(content):
        raise ValueError("no record")
    ancestors = content.pop("ancestors", {})
    yield _rows(content, ancestors, place, "")
    for name, ancestor in ancestors.items():
        ancestor.pop("ancestors", None)
        yield _rows(ancestor, ancestors, "", name)


def add(store: Store, found: list[tuple[int, Rows]]) -> None:
    """Add numbered rows to the database."""
    store.insert("records", [(number, rows.digest, *rows.record) for number, rows in found])
    store.insert("parents", [(number, *edge) for number, rows in found for edge in rows.parents])
    store.insert("names", [(*name, number) for number, rows in found for name in rows.names])


def key_of(name: str) -> str:
    """A name as the index has it: half of a sha256 is enough, and an index of half the size is twice as fast."""
    return name[:32] if len(name) == 64 else name


def _rows(content: dict[str, Any], ancestors: Mapping[str, Any], place: str, name: str) -> Rows:
    body = _canonical(content)
    known = name or (sha256_of(body) if len(content) == len(_FIELDS) - 1 else _slow_digest(content))
    head = (content["component"], content["version"], content["port"], content.get("payload", ""))
    parents = content.get("parents", {})
    known_ports = {port for port, parent in parents.items() if parent in ancestors}  # behind a border there is none
    came_in = {told["sha256"] for port in known_ports for told in ancestors[parents[port]].get("files", {}).values()}
    names = {(key_of(one), role, unit): None for one, role, unit in _names(content, came_in, known_ports)}
    return Rows(known, (*head, place, body.decode()), list(parents.items()), list(names))


def _names(content: Mapping[str, Any], came_in: set[str], known_ports: set[str]) -> Iterator[tuple[str, str, str]]:
    """(name, role, unit): a file that was only handed on bears its names where it was made, not here."""
    if content.get("payload"):
        yield content["payload"], OUT, ""
    if content.get("weights"):
        yield content["weights"], IN, ""
    for value in content.get("locations", {}).values():
        yield value, IN, ""
    units = content.get("units", ())
    keys = {unit["key"] for unit in units}
    for file, told in content.get("files", {}).items():
        if told["sha256"] not in came_in and file != UNITS:
            start = file.partition("/")[0]
            yield from _names_of_file(told, start if start in keys else "")
    for one in units:
        yield from _names_of_unit(one, known_ports)


def _names_of_file(told: Mapping[str, str], unit: str) -> Iterator[tuple[str, str, str]]:
    """Objects that enter have UIDs, and there are many of them: their digests are left out."""
    for field in ("sop_uid", "series_uid", "patient"):
        if told.get(field):
            yield told[field], OUT, unit
    if not told.get("patient"):
        yield told["sha256"], OUT, unit


def _names_of_unit(unit: Mapping[str, Any], known_ports: set[str]) -> Iterator[tuple[str, str, str]]:
    """Instances are named where they came in without a record; else those of the record before say it."""
    key = unit["key"]
    if unit.get("identity"):
        yield unit["identity"], OUT, key
    for port, told in unit.get("inputs", {}).items():
        yield told["digest"], IN, key
        for field in ("series_uids", "patients") if port in known_ports else ("sop_uids", "series_uids", "patients"):
            for value in told.get(field, ()):
                yield value, IN, key


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
    if fast is None or _has_odd_number(content):
        return canonical(content).encode()
    return bytes(fast.dumps(content, option=fast.OPT_SORT_KEYS))


def _has_odd_number(content: Mapping[str, Any]) -> bool:
    values = [*content.get("settings", {}).values(), *content.get("environment", {}).values()]
    return any(isinstance(one, float) and "e" in repr(one) for one in values)


def _slow_digest(content: Mapping[str, Any]) -> str:
    filled = Record.from_dict(content).as_dict()
    filled.pop("ancestors")
    return digest(filled)
