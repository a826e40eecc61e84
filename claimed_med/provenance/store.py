"""The database behind the index: SQLite in a file, or PostgreSQL by URL; the same tables and statements in both.

records   one row a record: digest, component, version, port, payload, place, and the record itself without ancestors
parents   one row an edge: the record (by number), its input port, the digest of the record that came in there
names     one row for everything by which somebody may ask: SOP and series UIDs, file, payload, location and weights
          digests, identities, patient keys; with the unit of work that it belongs to
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from claimed_med import postgres
from claimed_med.errors import InputError, require

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_WHERE = "lineage index"
IN, OUT = "in", "out"
COLUMNS = {
    "records": {
        "number": "INTEGER PRIMARY KEY",
        **dict.fromkeys(("digest", "component", "version", "port", "payload", "place", "body"), "TEXT NOT NULL"),
    },
    "parents": {"child": "BIGINT NOT NULL", "port": "TEXT NOT NULL", "parent": "TEXT NOT NULL"},
    "names": {"name": "TEXT NOT NULL", "role": "TEXT NOT NULL", "unit": "TEXT NOT NULL", "record": "BIGINT NOT NULL"},
}
TABLES = tuple(
    f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(f'{name} {kind}' for name, kind in columns.items())})"
    for table, columns in COLUMNS.items()
)
INDEXES = (
    "CREATE UNIQUE INDEX IF NOT EXISTS records_digest ON records (digest)",
    "CREATE INDEX IF NOT EXISTS parents_parent ON parents (parent)",
    "CREATE INDEX IF NOT EXISTS parents_child ON parents (child)",
    "CREATE INDEX IF NOT EXISTS names_name ON names (name)",
)
_COLUMNS_OF_SQLITE = (
    "SELECT one.name, info.name FROM sqlite_master AS one, pragma_table_info(one.name) AS info "
    "WHERE one.type = 'table' AND one.name NOT LIKE 'sqlite~_%' ESCAPE '~'"  # not SQLite's own, such as of ANALYZE
)
_COLUMNS_OF_POSTGRES = (
    "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"
)
_MANY = 500  # names in one question
_FAST = (
    "page_size = 16384",  # a record is nearly a page of the usual size
    "journal_mode = OFF",
    "synchronous = OFF",
    "cache_size = -400000",
    "temp_store = MEMORY",
)


class Store:
    """One open database.

    Args:
        connection: Of sqlite3 or psycopg.
        is_postgres: Which of the two.
    """

    def __init__(self, connection: Any, *, is_postgres: bool) -> None:
        self.connection = connection
        self.is_postgres = is_postgres

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows that a question gives; `?` stands for a value."""
        found: list[tuple[Any, ...]] = self._execute(statement, values).fetchall()
        return found

    def rows_in(self, statement: str, values: Iterable[str]) -> list[tuple[Any, ...]]:
        """The rows of a question with `IN (?)`, however many values there are."""
        listed = sorted(set(values))
        found: list[tuple[Any, ...]] = []
        for start in range(0, len(listed), _MANY):
            part = listed[start : start + _MANY]
            found += self.rows(statement.replace("(?)", f"({', '.join('?' * len(part))})"), part)
        return found

    def do(self, statement: str) -> None:
        """Run a statement without values."""
        self._execute(statement, ())

    def insert(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        """Add many rows at once."""
        names = COLUMNS[table]
        if self.is_postgres:
            with self.connection.cursor().copy(f"COPY {table} ({', '.join(names)}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        else:
            marks = ", ".join("?" * len(names))
            self.connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608 - our own names

    def change(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement once for every row of values."""
        if self.is_postgres:
            self.connection.cursor().executemany(statement.replace("?", "%s"), rows)
        else:
            self.connection.executemany(statement, rows)

    def is_built(self) -> bool:
        """Whether all tables of an index are there."""
        return set(COLUMNS) <= {table for table, _ in self._columns()}

    def check(self) -> None:
        """Make sure that this is an index of ours or empty, before anything is dropped or added.

        Raises:
            InputError: There are other tables: in a file any, in PostgreSQL such of the same names.
        """
        found: dict[str, set[str]] = {}
        for table, column in self._columns():
            found.setdefault(table, set()).add(column)
        others = () if self.is_postgres else set(found) - set(COLUMNS)
        if others or any(found.get(table, set(columns)) != set(columns) for table, columns in COLUMNS.items()):
            raise InputError(_WHERE, "--db names a database that is no index", do="choose another place")

    def require(self) -> None:
        """Make sure that this is an index of ours, which somebody has built.

        Raises:
            InputError: It is none, or nothing was built there.
        """
        self.check()
        if not self.is_built():
            raise InputError(_WHERE, "nobody has built an index there", do="run: claimed-med lineage index FOLDER")

    def commit(self) -> None:
        """Make what was written last."""
        self.connection.commit()

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def _columns(self) -> list[tuple[str, str]]:
        rows = self.rows(_COLUMNS_OF_POSTGRES if self.is_postgres else _COLUMNS_OF_SQLITE)
        return [(str(table), str(column)) for table, column in rows]

    def _execute(self, statement: str, values: Sequence[Any]) -> Any:
        text = statement.replace("?", "%s") if self.is_postgres else statement
        return self.connection.execute(text, tuple(values))


@contextmanager
def connected(place: str, *, fast: bool = False) -> Iterator[Store]:
    """An open database; closed when the block ends.

    Args:
        place: Path of a SQLite file, or `postgresql://...`.
        fast: Write without waiting for the disk: for a database that is thrown away when that fails.

    Raises:
        ContractError: The place is an address of another kind.
        MissingDependencyError: The driver of PostgreSQL is not installed.
        InputError: The database cannot be opened or used; its address is not repeated.
        OutputError: The database cannot be written.
    """
    store, errors = _postgres(place) if is_postgres(place) else _sqlite(place, fast=fast)
    try:
        yield store
    except errors as error:
        raise postgres.failed(error, _WHERE) from None
    finally:
        store.close()


def is_postgres(place: str) -> bool:
    """Whether a place is the URL of a PostgreSQL database, and not a path.

    Raises:
        ContractError: It is an address of another kind.
    """
    return postgres.is_url(place, _WHERE)


def _sqlite(place: str, *, fast: bool) -> tuple[Store, type[Exception]]:
    connection = None
    try:
        connection = sqlite3.connect(place)
        if fast:
            for pragma in _FAST:
                connection.execute(f"PRAGMA {pragma}")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        if connection is not None:
            connection.close()
        raise InputError(_WHERE, "the database cannot be opened", do="check --db") from None
    return Store(connection, is_postgres=False), sqlite3.Error


def _postgres(place: str) -> tuple[Store, type[Exception]]:
    psycopg = require("psycopg", "provenance")
    try:
        connection = psycopg.connect(place, connect_timeout=10)
    except (psycopg.Error, UnicodeError) as error:
        raise postgres.unreachable(error, _WHERE) from None
    return Store(connection, is_postgres=True), psycopg.Error
