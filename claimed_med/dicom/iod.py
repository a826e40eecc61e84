"""Types of attributes in the IODs: 1, 1C, 2, 2C or 3 (from the tables that highdicom carries)."""

from __future__ import annotations

from functools import cache

_ORDER = ("1", "1C", "2", "2C", "3")


@cache
def attribute_types(sop_class_uid: str) -> dict[tuple[str, str], str]:
    """The strictest type of each attribute over the modules of an object's IOD.

    Args:
        sop_class_uid: SOP class; an unknown one counts as holding every module.

    Returns:
        (keyword of the sequence that holds it, or ''; keyword) -> type.

    Source:
        DICOM PS3.3, sections A and C.
    """
    from highdicom._standard_utils import get_iod_module_map, get_module_attribute_map, get_sop_class_iod_map

    modules = get_module_attribute_map()
    iod = get_sop_class_iod_map().get(sop_class_uid)
    named = [one["key"] for one in get_iod_module_map()[iod]] if iod else ["patient", "general-study", "general-series"]
    types: dict[tuple[str, str], str] = {}
    for name in [*named, "sop-common"]:
        for one in modules.get(name, ()):
            place = (one["path"][-1] if one["path"] else "", one["keyword"])
            types[place] = min(types.get(place, "3"), one["type"], key=_ORDER.index)
    return types


def type_of(sop_class_uid: str, keyword: str, sequence: str = "") -> str:
    """The type of an attribute at the top of an object, or in the items of a sequence; 3 when no module has it."""
    return attribute_types(sop_class_uid).get((sequence, keyword), "3")
