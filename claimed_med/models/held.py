"""Bundles that a process has read already: a worker that predicts hundreds of images reads its model once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claimed_med.errors import InputError

if TYPE_CHECKING:
    from claimed_med.handles import ModelBundle
    from claimed_med.models.bundle import Bundle

_held: dict[str, Bundle] = {}
_MOST = 4  # a server holds two models, and two more while it takes over new ones


def held(handle: ModelBundle) -> Bundle:
    """The bundle of a handle; read once while its files do not change.

    Raises:
        InputError: The folder holds no bundle.
    """
    if handle.in_memory:
        bundle: Bundle = handle.load()
        return bundle
    key = _key(handle)
    if key not in _held:
        hold(handle, handle.load())
    return _held[key]


def hold(handle: ModelBundle, bundle: Bundle) -> None:
    """Let `held` give this bundle for a handle on disk: a server's own, which computes in batches.

    Raises:
        InputError: The folder holds no bundle.
    """
    while len(_held) >= _MOST:
        _held.pop(next(iter(_held)), None)
    _held[_key(handle)] = bundle


def _key(handle: ModelBundle) -> str:
    file = handle.root() / "bundle.json"
    if not file.is_file():
        raise InputError("bundle", "the folder holds no bundle.json", do="give the output of train-classifier")
    states = [(one, one.stat()) for one in (file, *sorted(file.parent.glob("models/*")))]
    return repr([(str(one.resolve()), state.st_mtime_ns, state.st_size, state.st_ino) for one, state in states])
