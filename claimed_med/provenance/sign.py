"""Sign a folder: an in-toto statement over every file in it, in a DSSE envelope.

The statement also holds a copy of every record, so that a field that was altered can be named.

Source:
    in-toto Statement v1, https://in-toto.io/Statement/v1; DSSE 1.0.2, https://github.com/secure-systems-lab/dsse.
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimed_med.errors import InputError
from claimed_med.payload import LINEAGE, PARTIAL, digest_files, write_atomic
from claimed_med.provenance import keys
from claimed_med.provenance.runfile import NAME as RUN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NAME = "attestation.dsse.json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:claimed-med:lineage:1"


@dataclass(frozen=True)
class Attested:
    """What a signature stands for.

    Attributes:
        files: Relative name -> sha256.
        records: Relative name of a `lineage.json` or `run.json` -> its content, records without their ancestors.
    """

    files: dict[str, str]
    records: dict[str, dict[str, Any]]


class BadSignature(Exception):  # noqa: N818 - an outcome, told to the user as a change
    """The envelope does not stand for what lies in it; the text says why."""


def sign(folder: Path, key: Path) -> Path:
    """Sign every file below a folder.

    Args:
        folder: A run folder, output folder or crate.
        key: Private key of the hospital.

    Returns:
        The envelope, `attestation.dsse.json` in the folder.

    Raises:
        InputError: The folder holds no record, is a port itself, or the key cannot be read.
    """
    private = keys.private(key)
    if (folder / LINEAGE).is_file():
        raise InputError(
            "lineage sign", "an output port holds its payload and nothing else", do="sign the folder above"
        )
    listed = everything_below(folder) if folder.is_dir() else {}
    if not any(Path(name).name == LINEAGE for name in listed):
        raise InputError("lineage sign", "no lineage.json lies below this folder", do="name a folder that a run wrote")
    statement = json.dumps(_statement(listed), sort_keys=True, separators=(",", ":")).encode()
    signature = private.sign(_encoded(PAYLOAD_TYPE, statement))
    envelope = {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(statement).decode(),
        "signatures": [{"keyid": keys.id_of(private.public_key()), "sig": base64.b64encode(signature).decode()}],
    }
    path = folder / NAME
    write_atomic(path, _text(envelope))
    return path


def _text(envelope: Any) -> str:
    """The only spelling of an envelope that is accepted, so that no byte of it can be altered unseen."""
    return json.dumps(envelope, indent=1) + "\n"


def attested(folder: Path, key: Path) -> Attested:
    """What the envelope of a folder stands for, when it was signed with this key.

    Args:
        folder: That was signed.
        key: Public key of the hospital.

    Raises:
        BadSignature: The envelope is missing, damaged, or signed with another key.
        InputError: The key cannot be read.
    """
    trusted = keys.public(key)
    try:
        text = (folder / NAME).read_bytes().decode()  # read_text takes CRLF for LF
        envelope = json.loads(text)
    except OSError:
        raise BadSignature("there is no signature") from None
    except ValueError:
        raise BadSignature("the envelope was altered: it is no JSON") from None
    if text != _text(envelope):
        raise BadSignature("the envelope was altered: it is not spelled as it was written")
    statement = _opened(envelope, trusted)
    try:
        content = json.loads(statement)
        files = {str(one["name"]): str(one["digest"]["sha256"]) for one in content["subject"]}
        if (content["_type"], content["predicateType"]) != (STATEMENT, PREDICATE):
            raise BadSignature("the statement is of another kind")
        return Attested(files, dict(content["predicate"]["records"]))
    except (ValueError, KeyError, TypeError):
        raise BadSignature("the statement is of another kind") from None


def everything_below(folder: Path) -> dict[str, Path]:
    """Every file below a folder, hidden ones too; not the envelope itself. A link counts as a file of its own."""
    found = {}
    for parent, inner, names in os.walk(folder):
        links = [name for name in inner if (Path(parent) / name).is_symlink()]
        inner[:] = [name for name in inner if name not in links]
        for name in (*names, *links):
            path = Path(parent) / name
            found[path.relative_to(folder).as_posix()] = path
    found.pop(NAME, None)
    return dict(sorted(found.items()))


def digests_below(folder: Path) -> dict[str, str]:
    """Relative name -> sha256 of every file below a folder; a link has the digest of where it points to."""
    files = everything_below(folder)
    return digest_files({name: _content(path) for name, path in files.items()})


def _content(path: Path) -> Path | bytes:
    return f"link {path.readlink()}".encode() if path.is_symlink() else path


def _statement(files: Mapping[str, Path]) -> dict[str, Any]:
    kept = {name: path for name, path in files.items() if not Path(name).name.startswith(PARTIAL)}
    digests = digest_files({name: _content(path) for name, path in kept.items()})
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": value}} for name, value in sorted(digests.items())],
        "predicateType": PREDICATE,
        "predicate": {"records": dict(_records(kept))},
    }


def _records(files: Mapping[str, Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, path in files.items():
        if Path(name).name in {LINEAGE, RUN}:
            yield name, record_in(path)


def record_in(path: Path) -> dict[str, Any]:
    """A record as signed: its content without the ancestors, which are records of their own.

    Raises:
        InputError: It is no JSON object.
    """
    try:
        content = dict(json.loads(path.read_bytes()))
    except (ValueError, TypeError):
        raise InputError("lineage sign", "a record cannot be read", do="restore it, or run again") from None
    content.pop("ancestors", None)
    return content


def _opened(envelope: Any, trusted: Any) -> bytes:
    from cryptography.exceptions import InvalidSignature

    try:
        kind, statement = str(envelope["payloadType"]), _from_base64(envelope["payload"])
        signatures = [(str(one.get("keyid", "")), _from_base64(one["sig"])) for one in envelope["signatures"]]
        names = [set(envelope), *map(set, envelope["signatures"])]
    except (KeyError, TypeError, AttributeError, ValueError):
        raise BadSignature("the envelope was altered: a part of it is missing or no base64") from None
    if names != [{"payloadType", "payload", "signatures"}, {"keyid", "sig"}]:
        raise BadSignature("the envelope was altered: it holds what nobody signed")
    if kind != PAYLOAD_TYPE:
        raise BadSignature("the envelope was altered: it holds no signed in-toto statement")
    own = keys.id_of(trusted)
    for keyid, signature in signatures:
        if keyid != own:
            continue
        try:
            trusted.verify(signature, _encoded(kind, statement))
        except InvalidSignature:
            raise BadSignature("the signature does not fit the statement: one of them was altered") from None
        return statement
    others = ", ".join(sorted(keyid[:12] for keyid, _ in signatures))
    raise BadSignature(f"signed with another key than the trusted one (key {others}, trusted {own[:12]})")


def _from_base64(text: str) -> bytes:
    content = base64.b64decode(text, validate=True)
    if base64.b64encode(content).decode() != text:  # the last letter has bits that mean nothing
        raise ValueError("not the one spelling")
    return content


def _encoded(kind: str, content: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed."""
    return b"DSSEv1 %d %b %d %b" % (len(kind.encode()), kind.encode(), len(content), content)
