"""QIDO-RS: what an archive holds, page by page, without a gap."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from pydicom.datadict import keyword_dict

from claimed_med.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claimed_med.dicom.web_transport import Transport

STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"
N_SERIES, N_INSTANCES, N_IN_SERIES = "00201206", "00201208", "00201209"
_PAGE = 1000
_OK, _NOTHING = 200, frozenset({204, 404})
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_LONGEST_UID = 64
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_OPTIONS = frozenset({"fuzzymatching"})


class CannotSearch(Exception):  # noqa: N818 - tells that there is no answer to be had, which may be no error
    """The server does not do this search.

    Attributes:
        status: HTTP status.
    """

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


def is_uid(text: object) -> bool:
    """Whether a text is a UID: digits and single dots, at most 64; so it is a safe file name too."""
    return isinstance(text, str) and len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


def parse_query(text: str) -> dict[str, str]:
    """Read a query as people write it.

    Args:
        text: `ModalitiesInStudy=CT&StudyDate=20200101-20201231`: keywords, or tags of 8 hex digits.

    Returns:
        Attribute -> what it must match.

    Raises:
        ContractError: It cannot be read, or is empty: an archive is not fetched as a whole by accident. The text is
            not repeated.
    """
    form = "KEYWORD=VALUE&KEYWORD=VALUE"
    try:
        pairs = parse_qsl(text.strip(), strict_parsing=True)
    except ValueError:
        raise ContractError("query", "a part is no KEYWORD=VALUE", allowed=form) from None
    if not any(name not in _OPTIONS for name, _ in pairs):
        raise ContractError("query", "names no attribute", allowed=form)
    for name, _ in pairs:
        if name not in _OPTIONS and name not in keyword_dict and not _TAG.fullmatch(name):
            raise ContractError("query", "names an attribute that DICOM does not know", allowed=form)
    if len({name for name, _ in pairs}) < len(pairs):
        raise ContractError("query", "names an attribute twice", allowed=form)
    return dict(pairs)


def search(
    net: Transport, path: str, tag: str, filters: Mapping[str, str] | None = None, *, expected: int = -1, most: int = 0
) -> dict[str, dict[str, Any]]:
    """Everything that matches, page by page.

    Args:
        net: To the server.
        path: `studies`, `studies/UID/series` ...
        tag: Of the UID that tells the matches apart.
        filters: Attributes to match or to include.
        expected: How many there should be: the search ends there; -1 when it is not known.
        most: At most so many, 0 for all.

    Returns:
        UID -> attributes.

    Raises:
        CannotSearch: The server does not do this search.
        ClaimedMedError: It does not answer, gives only a part of the matches, or lists what is no UID.
    """
    found: dict[str, dict[str, Any]] = {}
    n_rows = 0
    while True:
        wanted = min(_PAGE, most - len(found)) if most else _PAGE
        status, rows = net.json(path, {**(filters or {}), "limit": str(wanted), "offset": str(n_rows)})
        if status in _NOTHING or (status == _OK and not rows):
            return found
        if status != _OK:
            raise CannotSearch(status)
        if not isinstance(rows, list):
            raise net.fail("the answer is not DICOM JSON", do="check the address")
        new = {uid: row for row in rows if (uid := value(row, tag)) not in found}
        if not all(is_uid(uid) for uid in new):
            raise net.fail("the archive lists something that is no UID", allowed="digits and single dots, at most 64")
        if not new and len(rows) >= _PAGE:
            raise net.fail("the archive gives the same page of a list again", do="ask for fewer: narrow the query")
        found |= new
        n_rows += len(rows)
        if not new or len(found) == expected or (most and len(found) >= most):
            return dict(list(found.items())[:most]) if most else found


def value(row: object, tag: str) -> Any:
    """The first value of an attribute in DICOM JSON, None when it is absent or of another form."""
    element = row.get(tag) if isinstance(row, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None


def count(row: object, tag: str) -> int:
    """The first value of an attribute as a number, -1 when it is absent or none."""
    try:
        return int(value(row, tag))
    except (TypeError, ValueError):
        return -1
