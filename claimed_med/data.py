"""Data sets: `claimed-med data list | make | fetch | locate`. Standard library only at the top.

A data set is a card, `datasets/<name>.toml`: what it is, whose it is, and either the function that makes it or the
files to fetch with their sha256 (or the publisher's md5). Nothing is fetched without a checksum, and nothing appears
under its name half-written.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimed_med.errors import ContractError, InputError, OutputError, require
from claimed_med.fetch import retrieve, unpack
from claimed_med.payload import replace_folder
from claimed_med.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ENVIRONMENT = "CLAIMED_MED_DATA"
_HERE = Path(__file__).parent
_SHA256_LENGTH, _MD5_LENGTH = 64, 32
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class RemoteFile:
    """One file of a public data set.

    Attributes:
        name: Relative name in the folder of the data set.
        url: Where it is.
        sha256: Of its content; '' where nobody has told us.
        md5: The publisher's own digest, where that is all there is; '' otherwise. Without either the user must give a
            sha256: nothing is fetched unchecked.
    """

    name: str
    url: str
    sha256: str = ""
    md5: str = ""

    @property
    def checksum(self) -> str:
        """`sha256:...`, `md5:...`, or '' where nobody has told us."""
        return f"sha256:{self.sha256}" if self.sha256 else (f"md5:{self.md5}" if self.md5 else "")


@dataclass(frozen=True)
class Card:
    """What is known of a data set.

    Attributes:
        name: Kebab-case, the stem of its file.
        summary: One line.
        modality: DICOM modalities, separated by spaces.
        licence: Under which the data may be used, and where it says so.
        origin: Who made the data.
        n_files: Files in it (images, where it has any).
        citation: What a paper that uses it must cite.
        counts: Patients, images, classes: in words.
        biases: What is known to be uneven in it.
        maker: `module:function` that writes it into a folder, or ''.
        idc_collection: A collection of the Imaging Data Commons, fetched by idc-index, or ''.
        files: What is fetched; empty for a made data set.
    """

    name: str
    summary: str
    modality: str
    licence: str
    origin: str
    n_files: int
    citation: str = ""
    counts: str = ""
    biases: str = ""
    maker: str = ""
    idc_collection: str = ""
    files: tuple[RemoteFile, ...] = field(default=())


def cards(folder: Path | None = None) -> dict[str, Card]:
    """All cards by name.

    Raises:
        ContractError: A card lacks a field, or a file lacks its checksum.
    """
    return {path.stem: _read(path) for path in sorted((folder or _cards_folder()).glob("*.toml"))}


def card(name: str, folder: Path | None = None) -> Card:
    """The card of that name.

    Raises:
        ContractError: There is none.
    """
    known = cards(folder)
    if name not in known:
        raise ContractError("data", "there is no such data set", got=repr(name), allowed=", ".join(known))
    return known[name]


def root() -> Path:
    """The folder in which data sets lie: CLAIMED_MED_DATA, else the user's data folder."""
    given = os.environ.get(ENVIRONMENT, "")
    share = os.environ.get("XDG_DATA_HOME", "") or Path.home() / ".local" / "share"
    return Path(given) if given else Path(share) / "claimed_med"


def locate(name: str, folder: Path | None = None) -> Path:
    """The folder of a data set that is on this machine.

    Raises:
        InputError: It is not.
    """
    one = card(name, folder)
    place = root() / one.name
    if not place.is_dir():
        command = "make" if one.maker else "fetch"
        raise InputError("data", f"{one.name} is not on this machine", do=f"run: claimed-med data {command} {one.name}")
    return place


def make(one: Card) -> Path:
    """Make a data set, unless it is there; returns its folder.

    Raises:
        ContractError: The card names no maker.
    """
    if not one.maker:
        raise ContractError("data", f"{one.name} is not made", do=f"run: claimed-med data fetch {one.name}")
    place = root() / one.name
    if not place.is_dir():
        module, function = one.maker.split(":")
        maker = getattr(importlib.import_module(module), function)
        with replace_folder(place) as partial:
            maker(partial)
    return place


def fetch(one: Card, digests: Mapping[str, str] | None = None) -> Path:
    """Fetch a data set, unless it is there, and check every sha256; returns its folder.

    What was fetched in part by a run that ended early is kept and goes on. Archives are unpacked.

    Args:
        one: The card.
        digests: File -> sha256 for files whose digest the card does not know; it wins over the card's.

    Raises:
        ContractError: The card names no files, or a digest is not known and not given.
        OutputError: A file could not be fetched, or is not the one that the card describes.
    """
    if one.idc_collection:
        return _fetch_collection(one)
    if not one.files:
        raise ContractError("data", f"{one.name} is not fetched", do=f"run: claimed-med data make {one.name}")
    place = root() / one.name
    if place.is_dir():
        return place
    given = {name: f"sha256:{digest}" for name, digest in (digests or {}).items() if len(digest) == _SHA256_LENGTH}
    wanted = {file.name: given.get(file.name, "") or file.checksum for file in one.files}
    unknown = [name for name, checksum in wanted.items() if not checksum]
    if unknown:
        raise ContractError(
            "data",
            f"nobody has told us the sha256 of {', '.join(unknown)}",
            do=f"take it from the publisher and add --sha256 {unknown[0]}=HEX: nothing is fetched unchecked",
        )
    staging = root() / f".fetching-{one.name}"
    for file in one.files:
        if not (staging / file.name).is_file():
            with progress(f"fetching {file.name}", 100) as bar:
                retrieve(one.name, file.url, wanted[file.name], staging / file.name, _percent(bar))
    for file in one.files:
        unpack(staging / file.name, staging)
    staging.replace(place)
    return place


def _percent(bar: Any) -> Callable[[int, int], None]:
    told = [0]

    def advance(have: int, whole: int) -> None:
        while whole and told[0] < 100 * have // whole:
            told[0] += 1
            bar.advance()

    return advance


def _fetch_collection(one: Card) -> Path:
    """A collection of the Imaging Data Commons, by its own client; results that others added later are left out."""
    client = require("idc_index", "idc").IDCClient.client()
    place = root() / one.name
    if not place.is_dir():
        with replace_folder(place) as partial:
            try:
                client.download_collection(
                    collection_id=one.idc_collection, downloadDir=str(partial), analysis_results="exclude"
                )
            except Exception as error:  # noqa: BLE001 - the client has no common class for its errors
                raise OutputError(
                    "data", f"{one.name} could not be fetched", got=type(error).__name__, do="check the connection"
                ) from None
    return place


def main(words: Sequence[str]) -> int:
    """`claimed-med data ...`; the exit code."""
    arguments = parser().parse_args(list(words))
    return int(arguments.command(arguments))


def parser() -> argparse.ArgumentParser:
    """The command line of `claimed-med data`."""
    made = argparse.ArgumentParser(prog="claimed-med data", description="Data sets to try the components on.")
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="list the data sets, with licence and state")
    listing.set_defaults(command=_list)
    for name, function, words in (
        ("make", _make, "make a data set on this machine; prints its folder"),
        ("fetch", _fetch, "fetch a public data set and check it; prints its folder"),
        ("locate", _locate, "print the folder of a data set that is on this machine"),
    ):
        one = commands.add_parser(name, help=words, description=words.capitalize() + ".")
        one.add_argument("name", help="a name from: claimed-med data list")
        if name == "fetch":
            one.add_argument(
                "--sha256", action="append", default=[], metavar="FILE=HEX",
                help="digest of a file whose card does not know it; may be repeated",
            )  # fmt: skip
        one.set_defaults(command=function)
    return made


def _list(_: argparse.Namespace) -> int:
    for one in cards().values():
        state = "here" if (root() / one.name).is_dir() else ("can be made" if one.maker else "can be fetched")
        print(f"{one.name:<20} {one.modality:<6} {one.n_files:>5} files  {state:<14}  {one.summary}")
        print(f"{'':<20} {one.origin}; licence: {one.licence}")
        if one.biases:
            print(f"{'':<20} known biases: {one.biases}")
    return 0


def _make(arguments: argparse.Namespace) -> int:
    print(make(card(arguments.name)))
    return 0


def _fetch(arguments: argparse.Namespace) -> int:
    one = card(arguments.name)
    digests = dict(pair.rpartition("=")[::2] for pair in arguments.sha256)
    for name, digest in digests.items():
        if name not in {file.name for file in one.files} or not _SHA256.fullmatch(digest):
            files = ", ".join(file.name for file in one.files) or "none"
            raise ContractError(
                "data", "--sha256 takes FILE=HEX", got=repr(name), allowed=f"64 hex digits for: {files}"
            )
    print(fetch(one, digests))
    return 0


def _locate(arguments: argparse.Namespace) -> int:
    print(locate(arguments.name))
    return 0


def _read(path: Path) -> Card:
    content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    try:
        files = tuple(RemoteFile(**file) for file in content.pop("files", []))
        made = Card(name=path.stem, files=files, **content)
    except TypeError as error:
        raise ContractError("data", f"the card {path.name} is not complete", got=str(error)) from None
    unsafe = [
        one.name
        for one in files
        if len(one.sha256) not in {0, _SHA256_LENGTH}
        or len(one.md5) not in {0, _MD5_LENGTH}
        or Path(one.name).name != one.name
    ]
    if unsafe or sum(map(bool, (files, made.maker, made.idc_collection))) != 1:
        raise ContractError(
            "data",
            f"the card {path.name} must name a maker, a collection, or files each with a plain name and sha256",
            got=", ".join(unsafe) or "none or several of them",
        )
    return made


def _cards_folder() -> Path:
    checkout = _HERE.parent / "datasets"
    return checkout if checkout.is_dir() else _HERE / "datasets"
