"""Who made a derived object: the component that runs, its version, and what it derived from."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import highdicom as hd
from pydicom.sr.codedict import codes

from claimed_med.component import current

if TYPE_CHECKING:
    from pydicom.sr.coding import Code

MANUFACTURER = "claimed_med"


@dataclass(frozen=True)
class Maker:
    """What DICOM says about the software that made an object.

    Attributes:
        name: The component (`segment-lungs`), or `claimed_med` outside a component.
        version: Its version.
    """

    name: str
    version: str


def maker() -> Maker:
    """Return the component now running, or this library when none is."""
    contract = current()
    if contract is not None:
        return Maker(contract.name, contract.version)
    return Maker(MANUFACTURER, _library_version())


def _library_version() -> str:
    try:
        return version(MANUFACTURER)
    except PackageNotFoundError:
        return "0"


def contribution(made_by: Maker) -> hd.ContributingEquipment:
    """Describe the component as Contributing Equipment (no clock)."""
    return hd.ContributingEquipment(
        manufacturer=MANUFACTURER,
        purpose_of_reference=codes.DCM.ProcessingEquipment,
        manufacturer_model_name=made_by.name,
        software_versions=made_by.version,
        contribution_description=f"{made_by.name} {made_by.version}",
    )


def algorithm(made_by: Maker, family: Code) -> hd.AlgorithmIdentificationSequence:
    """Describe the component as Algorithm Identification.

    Args:
        made_by: The component.
        family: A code of CID 7162 (artificial intelligence, morphological operations, ...).
    """
    return hd.AlgorithmIdentificationSequence(
        name=made_by.name, family=family, version=made_by.version, source=MANUFACTURER
    )


def common_arguments(made_by: Maker) -> dict[str, Any]:
    """Return the equipment arguments that every highdicom constructor takes."""
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": made_by.name,
        "software_versions": made_by.version,
        "device_serial_number": "0",
    }
