"""Compare what two runs wrote, file by file: identical, equal within a tolerance, or where they first differ."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from claimed_med.payload import LINEAGE, digest_files, files_below, sha256_of
from claimed_med.provenance import contents

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

IDENTICAL, EQUAL, DIFFERENT = "identical", "equal", "different"


@dataclass(frozen=True)
class Compared:
    """How one output of two runs compares.

    Attributes:
        place: Task and port, or task and value.
        verdict: `identical`, `equal` (within the tolerance) or `different`.
        file: First file that differs, or ''.
        text: Where it first differs, or by how much it differs at most.
    """

    place: str
    verdict: str
    file: str = ""
    text: str = ""

    def __str__(self) -> str:
        """One line."""
        told = f"{self.file}: {self.text}" if self.file else self.text
        return f"{self.verdict:<9}  {self.place}{'  ' + told if told else ''}"

    def as_dict(self) -> dict[str, str]:
        """JSON-ready values."""
        return asdict(self)


def compare(place: str, old: Path, new: Path, *, listed: Mapping[str, str], tolerance: float = 0.0) -> Compared:
    """Compare a port folder with what the record of an earlier run lists.

    Args:
        place: Name of the output.
        old: Folder of the earlier run; it may be gone, or hold a part only: the record has the digests.
        new: Folder of this run.
        listed: Relative name -> sha256 as the record of the earlier run lists them.
        tolerance: Largest absolute difference of voxels and numbers that counts as equal; 0 for none.
    """
    files = {name: path for name, path in files_below(new).items() if name != LINEAGE}
    digests = digest_files(dict(files))
    if digests == dict(listed):
        return Compared(place, IDENTICAL)
    worst = 0.0
    for name, twin in _pairs(listed, digests):
        if not name or not twin:
            what = "is new" if not name else "is missing now"
            return Compared(place, DIFFERENT, name or twin, f"the file {what}")
        if listed[name] == digests[twin]:
            continue
        found = _file(old / name, files[twin], listed[name], tolerance)
        if isinstance(found, str):
            return Compared(place, DIFFERENT, name, found)
        worst = max(worst, found)
    if tolerance == 0:
        return Compared(place, DIFFERENT, "", "files have other names")
    return Compared(place, EQUAL, "", f"numbers differ by at most {worst:g}")


def compare_value(place: str, old: Path, new: Path, tolerance: float = 0.0, listed: str = "") -> Compared:
    """Compare the text files of a value output.

    Args:
        place: Name of the output.
        old: File of the earlier run; it may be gone where the record has the digest.
        new: File of this run.
        tolerance: Largest difference of numbers that counts as equal; 0 for none.
        listed: sha256 as the record of the earlier run has it, or '' where it has none.
    """
    if not new.is_file() or not (listed or old.is_file()):
        return Compared(place, DIFFERENT, "", "it is there in one run only")
    if listed and sha256_of(new) == listed:
        return Compared(place, IDENTICAL)
    if listed and not (old.is_file() and sha256_of(old) == listed):
        return Compared(place, DIFFERENT, "", "it is another; what was recorded is not there, so nobody can say which")
    before, after = old.read_text(encoding="utf-8"), new.read_text(encoding="utf-8")
    return Compared(place, IDENTICAL) if before == after else _texts(place, before, after, tolerance)


def _texts(place: str, before: str, after: str, tolerance: float) -> Compared:
    try:
        gap = abs(float(before) - float(after))
    except ValueError:
        return Compared(place, DIFFERENT, "", f"{before[:60]!r} became {after[:60]!r}")
    if tolerance > 0 and gap <= tolerance:
        return Compared(place, EQUAL, "", f"numbers differ by at most {gap:g}")
    return Compared(place, DIFFERENT, "", f"{before} became {after}")


def _pairs(listed: Mapping[str, str], digests: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Files of both sides that belong together; '' where there is none.

    A derived object is named after its content in some ports, so that other voxels give another name: what is left over
    on both sides in equal number is paired in the order of the names.
    """
    both = sorted(set(listed) & set(digests))
    lost, fresh = sorted(set(listed) - set(digests)), sorted(set(digests) - set(listed))
    yield from ((name, name) for name in both)
    kinds = [_kind(one) for one in lost]
    if all(kinds) and kinds == [_kind(one) for one in fresh]:
        yield from zip(lost, fresh, strict=True)
        return
    yield from ((name, "") for name in lost)
    yield from (("", name) for name in fresh)


def _kind(name: str) -> tuple[str, str] | None:
    """Folder and ending of a file that is named after its content; None for one that is not."""
    path = Path(name)
    return (path.parent.as_posix(), path.suffix) if contents.DERIVED.fullmatch(path.stem) else None


def _file(old: Path, new: Path, listed: str, tolerance: float) -> float | str:
    """The largest difference where that is tolerated, else where two files first differ; without tolerance they do."""
    if not old.is_file() or digest_files({"": old})[""] != listed:
        return "the content differs; the file of the earlier run is not there, so nobody can say where"
    try:
        found = contents.difference(old, new, tolerance)
        return contents.first_byte(old, new) if tolerance == 0 and not isinstance(found, str) else found
    except Exception:  # noqa: BLE001 - whatever a reader says of a damaged file: its bytes differ
        return contents.first_byte(old, new)
