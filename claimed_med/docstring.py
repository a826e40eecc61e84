"""Read the sections of a Google-style docstring. Standard library only."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field

SECTIONS = ("Args", "Returns", "Raises", "Example", "Source")
_ENTRY = re.compile(r"^(\w+): (.*)$")


@dataclass(frozen=True)
class Docstring:
    """The words of a contract, taken from a docstring.

    Attributes:
        summary: The first line.
        description: The text between the summary and the first section.
        args: Port or setting name -> its line.
        returns: Output name -> its line.
        raises: The whole section.
        source: The whole section.
        sections: Names of the sections in the order in which they stand.
    """

    summary: str = ""
    description: str = ""
    args: dict[str, str] = field(default_factory=dict)
    returns: dict[str, str] = field(default_factory=dict)
    raises: str = ""
    source: str = ""
    sections: tuple[str, ...] = ()


def parse(text: str | None) -> Docstring:
    """Parse a docstring; a missing one gives an empty `Docstring`."""
    lines = inspect.cleandoc(text or "").splitlines()
    head: list[str] = []
    blocks: dict[str, list[str]] = {}
    into = head
    for line in lines:
        name = line.rstrip().removesuffix(":")
        if line.rstrip().endswith(":") and name in SECTIONS:
            into = blocks.setdefault(name, [])
        else:
            into.append(line)
    summary = head[0].strip() if head else ""
    return Docstring(
        summary=summary,
        description="\n".join(head[1:]).strip(),
        args=_entries(blocks.get("Args", [])),
        returns=_entries(blocks.get("Returns", [])),
        raises=_joined(blocks.get("Raises", [])),
        source=_joined(blocks.get("Source", [])),
        sections=tuple(blocks),
    )


def _entries(lines: list[str]) -> dict[str, str]:
    entries: dict[str, str] = {}
    name = ""
    for line in inspect.cleandoc("\n".join(lines)).splitlines():
        match = _ENTRY.match(line)
        if match:
            name = match.group(1)
            entries[name] = match.group(2).strip()
        elif name and line.strip():
            entries[name] += " " + line.strip()
    return entries


def _joined(lines: list[str]) -> str:
    return inspect.cleandoc("\n".join(lines)).strip()
