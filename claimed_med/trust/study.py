"""One page for a whole study: every report in it, the verdict first, and where everything came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claimed_med.lineage import Record
from claimed_med.trust import plot
from claimed_med.trust.page import Page

_START, _END = "</h1>\n", "\n</body>"


def page(reports: Mapping[str, tuple[Mapping[str, Any], str]], records: Mapping[str, Record]) -> str:
    """The page.

    Args:
        reports: Title -> (parsed report, its own page or '').
        records: Title -> lineage record that lies beside the report.
    """
    made = Page("Study report")
    for title, (content, html) in reports.items():
        made.heading(title)
        made.include(body_of(html)) if html else made.json(content)
    steps = ancestry(records)
    if steps:
        made.heading("Where it came from")
        made.picture(plot.svg(_graph(steps)), "Components from the source data to the reports; arrows follow the data")
        made.table(
            ["component", "made from"],
            [[name, ", ".join(sorted(parents)) or "source data"] for name, parents in steps.items()],
        )
    return made.html()


def body_of(html: str) -> str:
    """What stands below the title of a page of ours; headings one level deeper."""
    start, end = html.find(_START), html.rfind(_END)
    body = html[start + len(_START) : end] if start >= 0 and end > start else ""
    return body.replace("<h3", "<h4").replace("</h3", "</h4").replace("<h2", "<h3").replace("</h2", "</h3")


def ancestry(records: Mapping[str, Record]) -> dict[str, set[str]]:
    """Component -> components whose outputs it used, over all ancestors of the records; sources first."""
    parents: dict[str, set[str]] = {}
    for record in records.values():
        known = {digest: (str(one["component"]), one["parents"]) for digest, one in record.ancestors.items()}
        _note(parents, record.component, record.parents, known)
        for component, above in known.values():
            _note(parents, component, above, known)
    depth: dict[str, int] = {}

    def depth_of(name: str, seen: tuple[str, ...] = ()) -> int:
        if name not in depth:
            above = [depth_of(one, (*seen, name)) for one in sorted(parents[name]) if one not in seen and one != name]
            depth[name] = 1 + max(above, default=-1)
        return depth[name]

    return {name: parents[name] for name in sorted(parents, key=lambda name: (depth_of(name), name))}


def _note(
    parents: dict[str, set[str]], component: str, above: Mapping[str, str], known: Mapping[str, tuple[str, Any]]
) -> None:
    found = parents.setdefault(component, set())
    found.update(known[digest][0] for digest in above.values() if digest in known)


def _graph(steps: Mapping[str, set[str]]) -> Any:
    depth: dict[str, int] = {}
    for name, above in steps.items():
        depth[name] = 1 + max((depth[one] for one in above if one in depth), default=-1)
    columns: dict[int, list[str]] = {}
    for name, place in depth.items():
        columns.setdefault(place, []).append(name)
    tallest = max(map(len, columns.values()))
    figure, axes = plot.new(1.75 * len(columns), 0.7 * tallest + 0.4)
    at = {
        name: (place, (len(names) - 1) / 2 - row) for place, names in columns.items() for row, name in enumerate(names)
    }
    for name, above in steps.items():
        for parent in sorted(above & set(at)):
            axes.annotate(
                "", xy=at[name], xytext=at[parent],
                arrowprops={"arrowstyle": "->", "color": "#888888", "linewidth": 0.7, "shrinkA": 16, "shrinkB": 16},
            )  # fmt: skip
    for name, (column, row) in at.items():
        box = {"boxstyle": "round,pad=0.3", "facecolor": "#e8f1f8", "edgecolor": plot.COLOURS[0], "linewidth": 0.8}
        axes.text(column, row, name.replace("-", "\n", 1), ha="center", va="center", fontsize=6.5, bbox=box)
    axes.set(xlim=(-0.6, len(columns) - 0.4), ylim=(-tallest / 2 - 0.2, tallest / 2 + 0.2))
    axes.set_axis_off()
    return figure
