"""The hospital's signing key: ed25519, in PEM files. The private one is read from disk only, never from a setting."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimed_med.errors import InputError, OutputError, require

if TYPE_CHECKING:
    from collections.abc import Callable

_EXTRA = "provenance"


def make(path: Path) -> Path:
    """Make a new key: the private one in `path`, readable by its owner only, the public one in `path`.pub.

    Returns:
        The public key's file.

    Raises:
        OutputError: One of the files is there already.
    """
    require("cryptography", _EXTRA)
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    public = path.with_name(f"{path.name}.pub")
    if path.exists() or public.exists():
        raise OutputError("lineage key", "the file is there already", do="choose another name: keys are never replaced")
    key = Ed25519PrivateKey.generate()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return public


def private(path: Path) -> Any:
    """The private key in a PEM file.

    Raises:
        InputError: It cannot be read, or is no ed25519 key.
    """
    require("cryptography", _EXTRA)
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return _loaded(path, lambda content: load_pem_private_key(content, None), Ed25519PrivateKey, "private")


def public(path: Path) -> Any:
    """The public key in a PEM file.

    Raises:
        InputError: It cannot be read, or is no ed25519 key.
    """
    require("cryptography", _EXTRA)
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    return _loaded(path, load_pem_public_key, Ed25519PublicKey, "public")


def id_of(key: Any) -> str:
    """The name of a public key: sha256 of its DER form (SubjectPublicKeyInfo), in hex."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _loaded(path: Path, load: Callable[[bytes], Any], kind: type, name: str) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        key = load(path.read_bytes())
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, kind):
        what = f"the file holds no {name} key" if path.is_file() else "there is no such file"
        do = "claimed-med lineage key FILE makes FILE (private) and FILE.pub (public)"
        raise InputError("lineage key", what, allowed=f"a {name} ed25519 key in PEM", do=do)
    return key
