"""The project's secret, from which patient keys are derived, and folders that outlive a run. Standard library only.

The secret comes from the environment variable CLAIMED_MED_SECRET, or from the file that CLAIMED_MED_SECRET_FILE names.
Where neither is set, one is made once for this user and kept in a file that only the user can read. It is never logged
and never on a command line. Sites that compare patient keys over machines must set it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import threading
from pathlib import Path

from claimed_med.errors import InputError

ENVIRONMENT, FILE = "CLAIMED_MED_SECRET", "CLAIMED_MED_SECRET_FILE"


def secret() -> bytes:
    """The secret.

    Raises:
        InputError: The file that the environment names is empty or cannot be read.
    """
    return from_environment(ENVIRONMENT) or _own()


def from_environment(name: str) -> bytes:
    """A secret from the environment variable, or from the file that the variable with `_FILE` names; empty if neither.

    Raises:
        InputError: The file is empty or cannot be read.
    """
    if given := os.environ.get(name, ""):
        return given.encode()
    if not (named := os.environ.get(f"{name}_FILE", "")):
        return b""
    try:
        content = Path(named).read_bytes().strip()
    except OSError:
        content = b""
    if not content:
        raise InputError("secret", f"the file that {name}_FILE names is empty or cannot be read")
    return content


def is_given() -> bool:
    """Whether the environment sets a secret; otherwise it is this user's own, which no other machine has."""
    return bool(os.environ.get(ENVIRONMENT, "") or os.environ.get(FILE, ""))


def keyed_hash(kind: str, value: str | bytes, key: bytes = b"") -> str:
    """HMAC-SHA256 of a value, in hex; the same value of two kinds gives two hashes.

    Args:
        kind: What the value is.
        value: The value.
        key: The secret where it is known already; otherwise this project's.
    """
    content = value if isinstance(value, bytes) else value.encode()
    return hmac.new(key or secret(), f"{kind}\0".encode() + content, hashlib.sha256).hexdigest()


def pseudonym(kind: str, value: str, key: bytes = b"") -> str:
    """A name that cannot be turned back without the secret: 16 hex of HMAC-SHA256(secret, kind and value).

    Args:
        kind: What the value is (`patient`, `site`): the same value of two kinds gets two names.
        value: The real name.
        key: The secret where it is known already.
    """
    return keyed_hash(kind, value, key)[:16]


def signature(text: str) -> str:
    """HMAC-SHA256 of a text under the secret, in hex: proves that who holds the secret wrote it."""
    return keyed_hash("signature", text)


def _own() -> bytes:
    base = os.environ.get("XDG_CONFIG_HOME", "") or Path.home() / ".config"
    file = Path(base) / "claimed_med" / "secret"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f"{file.name}-{os.getpid()}-{threading.get_ident()}")
        partial.touch(mode=0o600)
        partial.write_text(secrets.token_hex(32))
        try:
            os.link(partial, file)  # the first of two threads or processes wins
        except FileExistsError:
            pass
        finally:
            partial.unlink()
    return file.read_bytes().strip()
