"""A trace as a drawing or document: Graphviz, a page that needs no network, W3C PROV. Standard library only."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any

from claimed_med.provenance.trace import as_mermaid, as_table, roots_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from claimed_med.provenance.trace import Step, Trace

_WIDTH, _HEIGHT, _GAP = 300, 58, 34


def as_dot(found: Trace) -> str:
    """The trace as a Graphviz graph, source at the top."""
    lines = ["digraph lineage {", "    rankdir=TB;", '    node [shape=box, fontname="sans-serif"];']
    lines += [f'    r{one.digest[:12]} [label="{_title(one)}\\n{one.record.port}"];' for one in found.steps]
    known = {one.digest for one in found.steps}
    for step in found.steps:
        for port, parent in sorted(step.parents.items()):
            if parent not in known:
                lines.append(f'    r{parent[:12]} [label="record {parent[:12]}", style=dashed];')
            lines.append(f'    r{parent[:12]} -> r{step.digest[:12]} [label="{port}"];')
    for key, uids in sorted(found.sources.items()):
        lines.append(f'    s{key or "all"} [label="{len(uids)} source SOP instances\\n{key}", shape=cylinder];')
        lines += [f"    s{key or 'all'} -> r{one.digest[:12]};" for one in roots_of(found, key)]
    return "\n".join([*lines, "}"])


def as_prov(found: Trace) -> str:
    """The trace as PROV-JSON.

    Source:
        W3C Member Submission PROV-JSON, https://www.w3.org/Submission/prov-json/.
    """
    document: dict[str, Any] = {
        "prefix": {"cm": "urn:claimed-med:", "sha256": "urn:sha256:", "uid": "urn:oid:"},
        "entity": {},
        "activity": {},
        "agent": {},
        "used": {},
        "wasGeneratedBy": {},
        "wasAssociatedWith": {},
        "wasDerivedFrom": {},
    }
    payloads = {one.digest: f"sha256:{one.record.payload}" for one in found.steps}
    for one in found.steps:
        _step_in_prov(document, found, one, payloads)
    return json.dumps({name: told for name, told in document.items() if told}, indent=1, sort_keys=True)


def _step_in_prov(document: dict[str, Any], found: Trace, step: Step, payloads: dict[str, str]) -> None:
    record, name = step.record, f"cm:run-{step.digest}"
    agent = f"cm:{record.component}-{record.version}"
    environment = record.environment
    document["agent"][agent] = {"prov:type": {"$": "prov:SoftwareAgent", "type": "prov:QUALIFIED_NAME"}}
    document["activity"][name] = {
        "prov:startTime": environment.get("started", ""),
        "prov:endTime": environment.get("ended", ""),
        "cm:component": record.component,
        **{f"cm:{key}": str(value) for key, value in sorted(record.settings.items())},
        **({"cm:weights": record.weights} if record.weights else {}),
    }
    document["activity"][name] = {key: value for key, value in document["activity"][name].items() if value != ""}
    document["wasAssociatedWith"][f"_:a{step.digest[:12]}"] = {"prov:activity": name, "prov:agent": agent}
    made = payloads[step.digest]
    document["entity"][made] = {"cm:port": record.port}
    document["wasGeneratedBy"][f"_:g{step.digest[:12]}"] = {"prov:entity": made, "prov:activity": name}
    for port, parent in step.parents.items():
        source = payloads.get(parent, f"cm:record-{parent}")
        document["entity"].setdefault(source, {})
        _use(document, name, made, source, f"{step.digest[:12]}-{port}")
    for key, uids in found.sources.items():
        if step in roots_of(found, key):
            for uid in uids:
                document["entity"][f"uid:{uid}"] = {"cm:unit": key}
                _use(document, name, made, f"uid:{uid}", f"{step.digest[:12]}-{uid}")


def _use(document: dict[str, Any], activity: str, made: str, source: str, name: str) -> None:
    document["used"][f"_:u{name}"] = {"prov:activity": activity, "prov:entity": source}
    document["wasDerivedFrom"][f"_:d{name}"] = {"prov:generatedEntity": made, "prov:usedEntity": source}


def as_html(found: Trace) -> str:
    """The trace as one page that needs no network: a drawing, then every step with all that is recorded of it."""
    steps = "".join(_section(found, one) for one in found.steps)
    sources = "".join(
        f"<details><summary>{len(uids)} source SOP instances{escape(f' of unit {key}' if key else '')}</summary>"
        f"<pre>{escape(chr(10).join(uids))}</pre></details>"
        for key, uids in sorted(found.sources.items())
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Lineage</title><style>'
        "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        ":root{color-scheme:light dark}"
        "table{border-collapse:collapse}td,th{padding:.15rem .8rem;text-align:left;border-bottom:1px solid #8886;"
        "vertical-align:top}svg text{fill:currentColor;font:13px system-ui,sans-serif}"
        "svg rect{fill:none;stroke:currentColor}svg path{fill:none;stroke:#888}code{word-break:break-all}"
        "</style></head><body><h1>Lineage</h1>"
        f"{_drawing(found)}<h2>Steps, from the output back</h2>{steps}"
        f"<h2>Sources</h2>{sources or '<p>none recorded</p>'}"
        "</body></html>\n"
    )


def _section(found: Trace, step: Step) -> str:
    record = step.record
    units = {one.key or "all": one.identity for one in record.units if found.covers(one.key)}
    facts = [
        ("Record", step.digest),
        ("Payload", record.payload),
        ("Weights", record.weights),
        *((f"Setting {name}", json.dumps(value)) for name, value in sorted(record.settings.items())),
        *((f"Location {name}", value) for name, value in sorted(record.locations.items())),
        *((f"Value {name}", digest) for name, digest in sorted(record.values.items())),
        *((f"Input {port}", f"record {parent}") for port, parent in sorted(step.parents.items())),
        *((f"Identity {key}", value) for key, value in sorted(units.items())),
        *((name.replace("_", " ").capitalize(), str(value)) for name, value in sorted(record.environment.items())),
    ]
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td><code>{escape(text)}</code></td></tr>" for name, text in facts if text
    )
    title = f"{_title(step)} → {record.port}"
    return f'<details id="r{step.digest[:12]}"><summary>{escape(title)}</summary><table>{rows}</table></details>'


def _drawing(found: Trace) -> str:
    """Steps in columns by their distance from the output; the output is at the bottom."""
    levels = _levels(found)
    depth = max(levels.values(), default=0)
    places: dict[str, tuple[int, int]] = {}
    for digest, level in levels.items():
        row = depth - level
        places[digest] = (len([one for one in places.values() if one[1] == row]), row)
    width = (max((column for column, _ in places.values()), default=0) + 1) * (_WIDTH + _GAP) + _GAP
    parts = []
    for step in found.steps:
        x, y = _corner(places[step.digest])
        parts.append(
            f'<a href="#r{step.digest[:12]}"><rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6"/>'
            f'<text x="{x + 10}" y="{y + 24}">{escape(_title(step))}</text>'
            f'<text x="{x + 10}" y="{y + 44}">{escape(step.record.port)}</text></a>'
        )
        for parent in sorted(set(step.parents.values()) & set(places)):
            left, top = _corner(places[parent])
            parts.append(f'<path d="M{left + _WIDTH // 2} {top + _HEIGHT} L{x + _WIDTH // 2} {y}"/>')
    height = (depth + 1) * (_HEIGHT + _GAP) + _GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="Lineage">'
    return f"{head}{''.join(parts)}</svg>"


def _levels(found: Trace) -> dict[str, int]:
    """Longest distance of every step from the output."""
    levels = {step.digest: 0 for step in found.steps}
    for _ in found.steps:
        for step in found.steps:
            for parent in step.parents.values():
                if parent in levels and levels[parent] <= levels[step.digest] < len(found.steps):
                    levels[parent] = levels[step.digest] + 1
    return levels


def _corner(place: tuple[int, int]) -> tuple[int, int]:
    return _GAP + place[0] * (_WIDTH + _GAP), _GAP + place[1] * (_HEIGHT + _GAP)


def _title(step: Step) -> str:
    return f"{step.record.component} {step.record.version}"


FORMATS: dict[str, Callable[[Trace], str]] = {
    "table": as_table,
    "mermaid": as_mermaid,
    "json": lambda found: json.dumps(found.as_dict(), indent=1, sort_keys=True),
    "dot": as_dot,
    "html": as_html,
    "prov": as_prov,
}
