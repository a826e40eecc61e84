"""What each recipient was told already: everybody is told everything once, whoever else could not be reached."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from claimed_med.errors import InputError
from claimed_med.trust.alert import Alert, Episode, only

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS told_to "
    "(model TEXT NOT NULL, channel TEXT NOT NULL, key TEXT NOT NULL, cause TEXT NOT NULL, first REAL NOT NULL, "
    "last REAL NOT NULL, PRIMARY KEY (model, channel, key, cause, first))"
)


class Told:
    """What was told, by model and channel: one SQLite file.

    Args:
        path: The file; made when it is not there.
        model: Digest of the model.

    Raises:
        InputError: The file cannot be opened.
    """

    def __init__(self, path: Path, model: str) -> None:
        self.path, self.model = path, model
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as database:
            database.execute(_SCHEMA)

    def news(self, channel: str, alerts: Sequence[Alert]) -> list[Alert]:
        """Alerts with only what this channel was not told of.

        An episode is known when it shares any time with one that was told: it has gone on, or its windows were cut
        anew, because truth arrived late or old cases were deleted.
        """
        with self._open() as database:
            told = "SELECT key, cause, first, last FROM told_to WHERE model = ? AND channel = ?"
            known: dict[tuple[str, str], list[tuple[float, float]]] = {}
            for key, cause, first, last in database.execute(told, (self.model, channel)):
                known.setdefault((key, cause), []).append((first, last))

        def is_new(key: str, cause: str, one: Episode) -> bool:
            return not any(first <= one.last and one.first <= last for first, last in known.get((key, cause), []))

        return only(alerts, is_new)

    def remember(self, channel: str, alerts: Sequence[Alert]) -> None:
        """A channel knows all of this now; what is not among it is told again when it recurs."""
        with self._open() as database:
            database.execute("DELETE FROM told_to WHERE model = ? AND channel = ?", (self.model, channel))
            rows = [
                (self.model, channel, one.key, cause.name, episode.first, episode.last)
                for one in alerts
                for cause in one.causes
                for episode in cause.episodes
            ]
            database.executemany("INSERT OR REPLACE INTO told_to VALUES (?, ?, ?, ?, ?, ?)", rows)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=30)) as database, database:
                yield database
        except sqlite3.Error:
            raise InputError("send-notification", "the file of what was told cannot be used", do="check it") from None
