"""Fetch a result by its content."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from claimed_med.component import Address, component
from claimed_med.handles import Asset, Report


class LoadAssetOutputs(NamedTuple):
    """What load_asset returns."""

    asset: Asset
    origin: Report


@component(
    version="1.0.0",
    tags=("checkpoint", "load", "S3"),
    example={"store": "memory://claimed-med-example", "digest": "@store-asset:digest"},
)
def load_asset(*, store: Annotated[str, Address()] = "", digest: str = "") -> LoadAssetOutputs:
    """Fetch a result by its content.

    Every byte is hashed and compared with the digest that was asked for: what comes is what was stored, never something
    older, newer or damaged.

    Args:
        store: Folder, or `s3://bucket/prefix`; credentials as the client reads them from the environment.
        digest: What `store-asset` gave.

    Returns:
        asset: The payload as it was stored.
        origin: The lineage record that it was stored with.

    Raises:
        InputError: There is no such asset, or what is there is not what the digest says.
        MissingDependencyError: The client of this kind of address is not installed.
    """
    from claimed_med import asset as assets
    from claimed_med import scratch
    from claimed_med.component import state
    from claimed_med.errors import InputError

    if not store:
        raise InputError("load-asset", "no store was named", do="set --store")
    place = scratch.temporary()
    made = Asset(place)
    scratch.remove_with(made, place)
    stored = assets.Store(store).get(digest, place)
    state(asset=stored.digest)
    return LoadAssetOutputs(made, Report({"kind": "origin", "digest": stored.digest, "record": stored.record}))
