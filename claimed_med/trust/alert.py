"""Which limits of a deployed model are passed, why, and which of that nobody has been told yet."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claimed_med.errors import InputError
from claimed_med.trust import policy
from claimed_med.trust.policy import Policy

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS told "
    "(model TEXT NOT NULL, key TEXT NOT NULL, cause TEXT NOT NULL, PRIMARY KEY (model, key, cause))"
)


@dataclass(frozen=True)
class Alert:
    """A limit that is passed.

    Attributes:
        key: Identifies model, limit and group.
        limit: In words.
        value: The figure, or None when it is missing.
        why: The words of the limit.
        causes: What passes it: drifted columns, flagged groups ...; '' alone where nothing can be named.
    """

    key: str
    limit: str
    value: float | None
    why: str
    causes: tuple[str, ...]


def raised(limits: Policy, reports: Mapping[str, Mapping[str, Any]]) -> list[Alert]:
    """The limits that do not hold.

    Args:
        limits: Read by `claimed_med.trust.policy.load`.
        reports: `drift` and `bias`.

    Raises:
        InputError: The reports are about different models.
    """
    models = sorted({str(one.get("model_digest", "")) for one in reports.values()})
    if len(models) != 1:
        raise InputError("send-notification", "the reports are about different models", got=len(models), allowed="1")
    return [
        Alert(
            hashlib.sha256(json.dumps([models[0], one.requirement, one.group]).encode()).hexdigest()[:16],
            one.requirement,
            one.value,
            one.told,
            _causes(one.requirement, reports),
        )
        for one in policy.judge(limits, reports, models[0])
        if not one.passed
    ]


class Told:
    """What people were told already: one SQLite file.

    Args:
        path: The file; made when it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as database:
            database.execute(_SCHEMA)

    def news(self, alerts: Sequence[Alert]) -> list[Alert]:
        """Alerts with only those causes that nobody was told of; others are left out."""
        with self._open() as database:
            known = set(database.execute("SELECT key, cause FROM told"))
        fresh = [(one, tuple(cause for cause in one.causes if (one.key, cause) not in known)) for one in alerts]
        return [Alert(one.key, one.limit, one.value, one.why, causes) for one, causes in fresh if causes]

    def remember(self, model: str, alerts: Sequence[Alert]) -> None:
        """All of this is wrong with a model now and was told; what is no longer wrong is told again when it recurs."""
        with self._open() as database:
            database.execute("DELETE FROM told WHERE model = ?", (model,))
            rows = [(model, one.key, cause) for one in alerts for cause in one.causes]
            database.executemany("INSERT OR IGNORE INTO told VALUES (?, ?, ?)", rows)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            database = sqlite3.connect(self.path, timeout=30)
        except sqlite3.Error:
            raise InputError("send-notification", "the file of what was told cannot be opened", do="check it") from None
        try:
            with database:
                yield database
        finally:
            database.close()


def rules(limits: Policy) -> str:
    """The limits as Prometheus alerting rules over the metrics of `claimed-med monitor serve`; a missing figure alerts.

    Source:
        Prometheus documentation, Alerting rules.
    """
    lines = ["groups:", f"- name: {json.dumps(limits.name)}", "  rules:"]
    for number, one in enumerate(limits.require, 1):
        name = "claimed_med_monitor" if one.bound == "value" else f"claimed_med_monitor_{one.bound}"
        figure = f'{name}{{report="{one.report}",metric="{one.metric}",group{_matcher(one.group)}}}'
        value = f"abs({figure})" if one.magnitude else figure
        broken = {">=": "<", ">": "<=", "<=": ">", "<": ">=", "==": "!="}[one.comparison]
        lines += [
            f"  - alert: claimed_med_{number}_{one.metric}",
            f"    expr: {json.dumps(f'{value} {broken} {one.limit:g} or absent({figure})')}",
            "    labels:",
            "      severity: warning",
            "    annotations:",
            f"      summary: {json.dumps(one.why or str(one))}",
        ]
    return "\n".join(lines) + "\n"


def _matcher(group: str) -> str:
    """How PromQL asks for a group; `sex=*` is every group of the attribute."""
    if not group.endswith("=*"):
        return f"={json.dumps(group)}"
    start = re.sub(r"([^\w =&])", r"\\\1", group.removesuffix("*"))
    return f"=~{json.dumps(start + '.+')}"


def _causes(requirement: str, reports: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    name, _, figure = requirement.partition(": ")
    report = reports.get(name, {})
    latest: Mapping[str, Any] = next(
        (one for one in report.get("windows", []) if one["name"] == report.get("latest")), {}
    )
    quality = latest.get("quality", {})
    found = {
        "n_drifted": latest.get("causes", []),
        "n_worse": latest.get("worse", []),
        "max_missing": sorted(quality.get("missing", {})),
        "n_flagged": sorted(latest.get("flagged", {})),
    }
    return tuple(found.get(figure.split(" ")[0].strip("|"), ())) or ("",)
