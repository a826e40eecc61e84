"""A store of assets by content: in a folder, in S3, or wherever fsspec reaches. Standard library only at the top.

    <store>/files/<2 hex>/<sha256>     every file once, whichever assets hold it
    <store>/assets/<digest>.json       an asset: its files and its record; written last, so that it is there or not

The address of an asset is the digest of its payload. What is fetched is hashed and compared with it, so that it is
never another asset, an older one or a damaged one.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimed_med.errors import InputError, OutputError, require
from claimed_med.payload import payload_digest, sha256_of

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = "claimed-med/asset/1"
_DIGEST = re.compile(r"(sha256:)?([0-9a-f]{64})")


@dataclass(frozen=True)
class Stored:
    """What a store says of an asset.

    Attributes:
        digest: Of its payload.
        files: Relative name -> sha256.
        record: Its lineage record as JSON, or empty.
    """

    digest: str
    files: dict[str, str]
    record: dict[str, Any]


class Store:
    """A store of assets.

    Args:
        address: A path, or an address that fsspec knows (`s3://bucket/prefix`). Never recorded or repeated in errors.

    Raises:
        MissingDependencyError: The client of this kind of address is not installed.
        InputError: The kind of address is not known, or its server cannot be reached.
    """

    def __init__(self, address: str) -> None:
        fsspec = require("fsspec", "remote")
        target = address if "://" in address else Path(address).resolve().as_uri()
        try:
            self._system, base = fsspec.core.url_to_fs(target)
        except ImportError:
            require("s3fs", "remote")
            raise
        except ValueError:
            raise InputError("asset", "the kind of address is not known", allowed="a path, or s3://BUCKET") from None
        except OSError as error:
            do = "check the address, and whether its server is up"
            raise InputError("asset", "the store cannot be reached", got=type(error).__name__, do=do) from None
        self._base = str(base).rstrip("/")

    def put(self, files: Mapping[str, Path | bytes], record: Mapping[str, Any]) -> Stored:
        """Store an asset; files that are there already are not sent again, and a record that is there stays.

        Args:
            files: Relative name -> file or content.
            record: Its lineage record, or empty.

        Raises:
            OutputError: The store cannot be written.
        """
        digests = {name: sha256_of(content) for name, content in sorted(files.items())}
        made = Stored(payload_digest(digests), digests, dict(record))
        made = replace(made, record=self._record(made.digest) or made.record)
        told = {"schema": SCHEMA, "digest": made.digest, "files": digests, "record": made.record}
        try:
            for name, digest in digests.items():
                self._put(self._file(digest), files[name], digest)
            self._write(self._asset(made.digest), (json.dumps(told, indent=1, sort_keys=True) + "\n").encode())
        except Exception as error:  # noqa: BLE001 - each client has errors of its own, and they repeat the address
            raise OutputError(
                "asset", "the store cannot be written", got=type(error).__name__, do="see to its disk and permissions"
            ) from None
        return made

    def get(self, digest: str, folder: Path) -> Stored:
        """Fetch an asset into a folder.

        Args:
            digest: 64 hex, also with `sha256:` before it.
            folder: Empty.

        Raises:
            InputError: It is no digest, there is no such asset, or what is there is something else.
        """
        match = _DIGEST.fullmatch(digest)
        if match is None:
            raise InputError("asset", "an asset is named by its digest", got=repr(digest), allowed="64 hex digits")
        wanted = match[2]
        told = json.loads(self._read(self._asset(wanted), "there is no such asset"))
        if told.get("record", {}).get("payload", wanted) != wanted:
            raise InputError("asset", "its record is of something else", got=wanted[:12], do="see who can write there")
        if told.get("schema") != SCHEMA or payload_digest(told.get("files", {})) != wanted:
            raise InputError("asset", "the list of its files was changed", got=wanted[:12], do="store it again")
        for name, sha256 in told["files"].items():
            content = self._read(self._file(sha256), "a file of the asset is missing")
            if hashlib.sha256(content).hexdigest() != sha256:
                raise InputError("asset", "a file of the asset was changed", got=wanted[:12], do="store it again")
            target = folder / name
            if not target.resolve().is_relative_to(folder.resolve()):
                raise InputError("asset", "a file of the asset lies outside of it", got=wanted[:12])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return Stored(wanted, dict(told["files"]), dict(told["record"]))

    def _record(self, digest: str) -> dict[str, Any]:
        """The record with which an asset was stored before, or empty."""
        path = self._asset(digest)
        try:
            return dict(json.loads(self._read(path, ""))["record"]) if self._system.exists(path) else {}
        except (ValueError, KeyError, TypeError):
            return {}

    def _file(self, digest: str) -> str:
        return f"{self._base}/files/{digest[:2]}/{digest}"

    def _asset(self, digest: str) -> str:
        return f"{self._base}/assets/{digest}.json"

    def _put(self, path: str, content: Path | bytes, digest: str) -> None:
        """Send a file, unless the same bytes are there."""
        if self._system.exists(path):
            with self._system.open(path, "rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() == digest:
                    return
        self._write(path, content if isinstance(content, bytes) else content.read_bytes())

    def _write(self, path: str, content: bytes) -> None:
        """Write a file all or nothing: a store of objects does so by itself, a folder by renaming."""
        partial = f"{path}.partial"
        self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
        if "file" not in self._system.protocol:
            self._system.pipe_file(path, content)
            return
        self._system.pipe_file(partial, content)
        Path(partial).replace(path)

    def _read(self, path: str, absent: str) -> bytes:
        self._system.invalidate_cache()
        try:
            content: bytes = self._system.cat_file(path)
        except FileNotFoundError:
            raise InputError("asset", absent, do="check digest and store") from None
        except Exception as error:  # noqa: BLE001 - each client has errors of its own, and they repeat the address
            raise InputError("asset", "the store cannot be read", got=type(error).__name__, do="check it") from None
        return content
