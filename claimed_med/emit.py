"""Write YAML: mappings, lists and texts, in one spelling. Standard library only."""

from __future__ import annotations

import json
import re
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_/ .()-]*[A-Za-z0-9_)]|[A-Za-z]")
_RESERVED = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n", "~"})


class Quoted(str):
    """A text that is written in single quotes where that needs fewer escapes; Elyra pastes files into Python text."""

    __slots__ = ()


def to_yaml(content: Any, indent: int = 0) -> str:
    """Write a value as block YAML; empty mappings and lists in flow form; every line ends with a newline."""
    pad = " " * indent
    if isinstance(content, dict) and content:
        return "".join(_entry(pad, f"{_scalar(name)}:", value, indent + 2) for name, value in content.items())
    if isinstance(content, list) and content:
        return "".join(_item(pad, value, indent) for value in content)
    return f"{pad}{_scalar(content)}\n"


def _entry(pad: str, head: str, value: Any, indent: int) -> str:
    if isinstance(value, dict | list) and value and not _flow(value):
        return f"{pad}{head}\n{to_yaml(value, indent)}"
    return f"{pad}{head} {_scalar(value)}\n"


def _item(pad: str, value: Any, indent: int) -> str:
    if isinstance(value, dict) and value and not _flow(value):
        text = to_yaml(value, indent + 2)
        return f"{pad}- {text[indent + 2 :]}"
    return f"{pad}- {_scalar(value)}\n"


def _flow(value: Any) -> bool:
    """A placeholder such as {inputPath: series} stands on one line."""
    return isinstance(value, dict) and len(value) == 1 and all(isinstance(one, str) for one in value.values())


def _scalar(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(name)}: {_scalar(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_scalar(one) for one in value) + "]"
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int | float):
        return str(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _RESERVED and "  " not in value:
        return str(value)
    return _quoted(value)


def _quoted(value: str) -> str:
    if isinstance(value, Quoted) and value.isprintable() and ('"' in value or "\\" in value):
        return "'" + value.replace("'", "''") + "'"
    return json.dumps(value, ensure_ascii=False)
