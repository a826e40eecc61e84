"""A page that needs no other file: headings, tables and pictures, escaped, in light and dark."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Self

_STYLE = """
:root { color-scheme: light dark; --line: #8886; --good: #00734f; --bad: #b03a00; }
@media (prefers-color-scheme: dark) { :root { --good: #4fd3a5; --bad: #ff9a66; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1.2rem; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .7rem .25rem 0; text-align: left; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
img { max-width: 100%; background: #fff; border-radius: 4px; }
figure { margin: .5rem 0 1.2rem; } figcaption { font-size: .85rem; opacity: .8; }
.good { color: var(--good); font-weight: 600; } .bad { color: var(--bad); font-weight: 600; }
pre { overflow-x: auto; font-size: .8rem; }
"""


class Page:
    """A page that grows from top to bottom.

    Args:
        title: Of the page.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._parts: list[str] = []

    def heading(self, text: str, level: int = 2) -> Self:
        """Add a heading."""
        self._parts.append(f"<h{level}>{escape(text)}</h{level}>")
        return self

    def paragraph(self, text: str, *, tone: str = "") -> Self:
        """Add a paragraph; `tone` is `good`, `bad` or ''."""
        mark = f' class="{escape(tone)}"' if tone else ""
        self._parts.append(f"<p{mark}>{escape(text)}</p>")
        return self

    def verdict(self, found: Sequence[Mapping[str, Any]], windows: Sequence[Any], what: str) -> Self:
        """Add how many windows something was found in, and the first of them."""
        first = f"; first: {found[0]['name']}" if found else ""
        return self.paragraph(f"{len(found)} of {len(windows)} windows {what}{first}", tone="bad" if found else "good")

    def table(self, header: Sequence[str], lines: Iterable[Sequence[Any]]) -> Self:
        """Add a table; numbers stand to the right."""
        head = "".join(f'<th scope="col">{escape(one)}</th>' for one in header)
        body = "".join(f"<tr>{''.join(map(_cell, line))}</tr>" for line in lines)
        self._parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
        return self

    def picture(self, content: bytes, alt: str) -> Self:
        """Add a PNG or SVG picture with the text that stands for it."""
        kind = "png" if content.startswith(b"\x89PNG") else "svg+xml"
        data = base64.b64encode(content).decode()
        told = escape(alt, quote=True)
        image = f'<img alt="{told}" src="data:image/{kind};base64,{data}">'
        self._parts.append(f"<figure>{image}<figcaption>{told}</figcaption></figure>")
        return self

    def json(self, content: Any, summary: str = "machine-readable") -> Self:
        """Add a folded JSON text."""
        text = escape(json.dumps(content, indent=1, sort_keys=True))
        self._parts.append(f"<details><summary>{escape(summary)}</summary><pre>{text}</pre></details>")
        return self

    def include(self, html: str) -> Self:
        """Add markup of another page of ours, as it is."""
        self._parts.append(html)
        return self

    def html(self) -> str:
        """The whole page."""
        title = escape(self.title)
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>\n"
            + "\n".join(self._parts)
            + "\n</body></html>\n"
        )


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"<td>{escape(str(value))}</td>"
    return f'<td class="number">{value:.3f}</td>' if isinstance(value, float) else f'<td class="number">{value}</td>'


def name_of(window: Mapping[str, Any]) -> str:
    """A window as a person reads it."""
    return str(window["name"]) + ("" if window["whole"] else " (still growing)")
