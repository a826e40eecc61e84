"""PostgreSQL by URL: what is such an address, and why a server is not to be had, in words that repeat nothing of it.

The driver's own texts name host, user and database, and for a malformed address its password; none of them is shown.
"""

from __future__ import annotations

import re
import select
from typing import TYPE_CHECKING, Any

from claimed_med.errors import ContractError, InputError, OutputError

if TYPE_CHECKING:
    import sqlite3

FORM = "postgresql://[USER@]HOST[:PORT]/DATABASE"
_SCHEMES = frozenset({"postgresql", "postgres"})
# what the driver says -> what is wrong, what to do; the first that is found counts
_REASONS = (
    (
        r"password|authentication|pg_hba|role .* does not exist|not permitted to log in",
        "the database refuses user or password",
        "check the user, and PGPASSWORD or the pgpass file",
    ),
    (r"database .* does not exist", "the server has no such database", "make it (createdb), or check its name"),
    (
        r"refused|timeout|timed out|resolve|translate|no route|unreachable|no such file",
        "the database server does not answer",
        "see whether it runs, and check host and port",
    ),
    (r"SSL|TLS|certificate", "the database server and we do not agree on TLS", "check sslmode and the certificates"),
    (r"too many|starting up|shutting down|recovery", "the database server takes nobody now", "try again later"),
)
_NOT_WRITTEN = frozenset({"DiskFull", "InsufficientPrivilege", "ReadOnlySqlTransaction"})
_SQLITE_NOT_WRITTEN = ("SQLITE_FULL", "SQLITE_READONLY", "SQLITE_IOERR", "SQLITE_CANTOPEN")


def is_url(place: str, where: str) -> bool:
    """Whether a place is the URL of a PostgreSQL database; otherwise it is the path of a file.

    Raises:
        ContractError: It is an address of another kind.
    """
    scheme, found, _ = place.partition("://")
    if found and scheme not in _SCHEMES:
        raise ContractError(where, "the address is of no known kind", got=scheme, allowed=f"a path, or {FORM}")
    return bool(found)


def unreachable(error: Exception, where: str) -> InputError:
    """Why there is no connection.

    Args:
        error: Of psycopg, when it connects; UnicodeError where the name of the host cannot be one.
        where: Who speaks.
    """
    told = str(error)
    if isinstance(error, UnicodeError) or type(error).__name__ == "ProgrammingError" or "connection option" in told:
        return InputError(where, "the address of the database cannot be read", allowed=FORM)
    for pattern, what, do in _REASONS:
        if re.search(pattern, told, re.IGNORECASE):
            return InputError(where, what, do=do)
    return InputError(where, "the database cannot be opened", got=type(error).__name__, do="check address and server")


def failed(error: Exception | sqlite3.Error, where: str) -> InputError | OutputError:
    """What an open database, PostgreSQL or SQLite, did not do.

    Args:
        error: Of psycopg or sqlite3.
        where: Who speaks.
    """
    name: Any = getattr(error, "sqlite_errorname", type(error).__name__)
    if name in _NOT_WRITTEN or str(name).startswith(_SQLITE_NOT_WRITTEN):
        return OutputError(where, "the database cannot be written", got=name, do="see to disk and rights")
    return InputError(where, "the database cannot be used", got=name, do="see to its server or file")


def is_lost(connection: Any) -> bool:
    """Whether a connection to PostgreSQL is closed, or has something to say although nothing was asked: its end."""
    if connection.closed:
        return True
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    return bool(waiting.poll(0))
