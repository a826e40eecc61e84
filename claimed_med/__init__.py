"""DICOM-in, DICOM-out components for hospital imaging AI, with lineage.

    import claimed_med as cm
    segmentation = cm.segment_brain(cm.DicomSeries("mr/"))
    segmentation.save("brain/")

Handles are here at once; every component is an attribute of this module and is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from claimed_med.errors import (
    ClaimedMedError,
    ContractError,
    EngineError,
    InputError,
    MissingDependencyError,
    ModelError,
    OutputError,
    RefusedError,
)
from claimed_med.handle import Handle
from claimed_med.handles import (
    Asset,
    Decision,
    DicomCapture,
    DicomCollection,
    DicomMap,
    DicomReport,
    DicomSegmentation,
    DicomSeries,
    DicomStudy,
    ModelBundle,
    Nifti,
    Picture,
    Report,
    Servable,
    Table,
)

__all__ = [
    "Asset",
    "ClaimedMedError",
    "ContractError",
    "Decision",
    "DicomCapture",
    "DicomCollection",
    "DicomMap",
    "DicomReport",
    "DicomSegmentation",
    "DicomSeries",
    "DicomStudy",
    "EngineError",
    "Handle",
    "InputError",
    "MissingDependencyError",
    "ModelBundle",
    "ModelError",
    "Nifti",
    "OutputError",
    "Picture",
    "RefusedError",
    "Report",
    "Servable",
    "Table",
]


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        registry = import_module("claimed_med.registry")
        if name.replace("_", "-") in registry.names():
            return registry.get(name)
    raise AttributeError(f"module 'claimed_med' has no attribute {name!r}")


def __dir__() -> list[str]:
    registry = import_module("claimed_med.registry")
    return sorted([*__all__, *(name.replace("-", "_") for name in registry.names())])
