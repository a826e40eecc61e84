"""Store a result by its content."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from claimed_med.component import Address, component
from claimed_med.handles import Asset, Report


class StoreAssetOutputs(NamedTuple):
    """What store_asset returns."""

    receipt: Report
    digest: str


@component(
    version="1.0.0",
    tags=("checkpoint", "store", "S3"),
    example={"asset": "labels", "store": "memory://claimed-med-example"},
)
def store_asset(asset: Asset, *, store: Annotated[str, Address()] = "") -> StoreAssetOutputs:
    """Store a result by its content.

    Anything that a port holds: a model, a table, a series. Its address is the digest of its payload, never a name, so that
    nothing that was stored is ever replaced; files that are there already are not sent again. Its lineage goes with it.

    Args:
        asset: What is stored.
        store: Folder, or `s3://bucket/prefix`; credentials as the client reads them from the environment.

    Returns:
        receipt: Digest, files and bytes.
        digest: The address: give it to `load-asset`.

    Raises:
        InputError: There is nothing, or no store was named.
        MissingDependencyError: The client of this kind of address is not installed.
        OutputError: The store cannot be written.
    """
    from claimed_med import asset as assets
    from claimed_med import lineage
    from claimed_med.errors import InputError

    if not store:
        raise InputError("store-asset", "no store was named", do="set --store")
    files = asset.payload()
    if not files:
        raise InputError("store-asset", "there is nothing to store")
    record = lineage.read(asset.path) if asset.path is not None else None
    stored = assets.Store(store).put(files, record.as_dict() if record else {})
    n_bytes = sum(len(one) if isinstance(one, bytes) else one.stat().st_size for one in files.values())
    told = {"kind": "asset", "digest": stored.digest, "n_files": len(files), "n_bytes": n_bytes}
    return StoreAssetOutputs(Report({**told, "has_record": record is not None}), stored.digest)
