"""What each recipient was told already: everybody is told everything once, whoever else could not be reached."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from claimed_med.errors import InputError
from claimed_med.trust.alert import Alert

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS told_to "
    "(model TEXT NOT NULL, channel TEXT NOT NULL, key TEXT NOT NULL, cause TEXT NOT NULL, "
    "PRIMARY KEY (model, channel, key, cause))"
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
        """Alerts with only those causes that this channel was not told of; others are left out."""
        with self._open() as database:
            told = "SELECT key, cause FROM told_to WHERE model = ? AND channel = ?"
            known = set(database.execute(told, (self.model, channel)))
        fresh = (
            replace(one, causes=tuple(cause for cause in one.causes if (one.key, cause) not in known)) for one in alerts
        )
        return [one for one in fresh if one.causes]

    def remember(self, channel: str, alerts: Sequence[Alert]) -> None:
        """A channel was told of all this, which is wrong now; what is no longer wrong is told again when it recurs."""
        with self._open() as database:
            database.execute("DELETE FROM told_to WHERE model = ? AND channel = ?", (self.model, channel))
            rows = [(self.model, channel, one.key, cause) for one in alerts for cause in one.causes]
            database.executemany("INSERT OR IGNORE INTO told_to VALUES (?, ?, ?, ?)", rows)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=30)) as database, database:
                yield database
        except sqlite3.Error:
            raise InputError("send-notification", "the file of what was told cannot be used", do="check it") from None
