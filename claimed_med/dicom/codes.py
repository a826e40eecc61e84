"""Codes: the segment tables (TOML, one for each model) and the names and units of measurements."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom.sr.coding import Code

from claimed_med.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Sequence

TABLES = Path(__file__).parent / "segments"
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
LARGEST_NUMBER = 65535

# Names of measurements (CID 7469, 7468 and IBSI), how they sum up voxels (CID 7464), and units (UCUM).
VOLUME = Code("118565006", "SCT", "Volume")
SURFACE_AREA = Code("C0JK", "IBSI", "Surface area of mesh")
LARGEST_DIAMETER = Code("L0JK", "IBSI", "Maximum 3D Diameter of a Mesh")
ATTENUATION = Code("112031", "DCM", "Attenuation Coefficient")
SIGNAL_INTENSITY = Code("110852", "DCM", "MR signal intensity")
ACTIVITY_CONCENTRATION = Code("110850", "DCM", "PET Radionuclide Activity Concentration")
MEAN = Code("373098007", "SCT", "Mean")
STANDARD_DEVIATION = Code("386136009", "SCT", "Standard Deviation")
MINIMUM = Code("255605001", "SCT", "Minimum")
MAXIMUM = Code("56851009", "SCT", "Maximum")
MEDIAN = Code("373099004", "SCT", "Median")
MILLILITER = Code("ml", "UCUM", "milliliter")
MILLIMETER = Code("mm", "UCUM", "millimeter")
SQUARE_MILLIMETER = Code("mm2", "UCUM", "square millimeter")
HOUNSFIELD_UNIT = Code("[hnsf'U]", "UCUM", "Hounsfield unit")
BECQUEREL_PER_MILLILITER = Code("Bq/ml", "UCUM", "Becquerels/milliliter")
NO_UNIT = Code("1", "UCUM", "no units")


@dataclass(frozen=True)
class SegmentDefinition:
    """One row of a segment table.

    Attributes:
        number: Value of the segment in a label array, from 1.
        label: Words for people.
        category: Segmented property category, CID 7150.
        kind: Segmented property type, CID 7151.
        modifier: Modifier of the type (laterality), or None.
        region: Anatomic region, or None.
        color: Recommended display colour, sRGB 0-255, or None.
    """

    number: int
    label: str
    category: Code
    kind: Code
    modifier: Code | None = None
    region: Code | None = None
    color: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class SegmentTable:
    """All segments that one model can find.

    Attributes:
        title: Words for the series description and the content description.
        family: Algorithm family, CID 7162.
        segments: In order of their numbers.
    """

    title: str
    family: Code
    segments: tuple[SegmentDefinition, ...]


def segment_table(table: str | Path | SegmentTable | Sequence[SegmentDefinition]) -> SegmentTable:
    """Return a segment table by name (`lungs`), from a TOML file, or as given.

    Raises:
        ContractError: No such table, or a table with a missing or repeated number.
    """
    if isinstance(table, SegmentTable):
        return _checked(table, "segments")
    if isinstance(table, str | Path):
        return _read(str(table))
    segments = tuple(table)
    return _checked(SegmentTable(segments[0].label if segments else "", ARTIFICIAL_INTELLIGENCE, segments), "segments")


@cache
def _read(name: str) -> SegmentTable:
    path = Path(name) if name.endswith(".toml") else TABLES / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in TABLES.glob("*.toml")))
        raise ContractError("segments", "no such segment table", got=name, allowed=f"{known}, or a .toml file")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        return _checked(_parse(content, path.stem), path.stem)
    except (KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        raise ContractError(f"segment table {path.stem}", "cannot be read", got=repr(error)) from error


def _parse(content: dict[str, Any], stem: str) -> SegmentTable:
    rows = tuple(
        SegmentDefinition(
            number=row["number"],
            label=row["label"],
            category=Code(*row["category"]),
            kind=Code(*row["type"]),
            modifier=Code(*row["modifier"]) if "modifier" in row else None,
            region=Code(*row["region"]) if "region" in row else None,
            color=tuple(row["color"]) if "color" in row else None,
        )
        for row in content["segment"]
    )
    family = Code(*content["family"]) if "family" in content else ARTIFICIAL_INTELLIGENCE
    return SegmentTable(content.get("title", stem.capitalize()), family, rows)


def _checked(table: SegmentTable, where: str) -> SegmentTable:
    numbers = [segment.number for segment in table.segments]
    if not numbers or numbers != list(range(1, len(numbers) + 1)):
        raise ContractError(where, "segment numbers must run from 1 without gaps", got=numbers)
    if len(numbers) > LARGEST_NUMBER:
        raise ContractError(where, "too many segments", got=len(numbers), allowed=f"at most {LARGEST_NUMBER}")
    return table


def code_of(parts: Sequence[str]) -> Code:
    """A code from value, scheme and meaning."""
    value, scheme, meaning = parts
    return Code(value, scheme, meaning)
