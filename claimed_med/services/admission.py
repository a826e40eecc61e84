"""Who and what is let in: whether to refuse an association, and which presentation contexts to accept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydicom.uid import AllTransferSyntaxes

from claimed_med.services import pdu
from claimed_med.services.commitment import PUSH_MODEL, SYNTAXES

if TYPE_CHECKING:
    from collections.abc import Collection

VERIFICATION = "1.2.840.10008.1.1"
_SIMPLE = frozenset(SYNTAXES)
_STORAGE = (
    "1.2.840.10008.5.1.4.1.1.",
    "1.2.840.10008.5.1.4.34.7",
    "1.2.840.10008.5.1.4.43.",
    "1.2.840.10008.5.1.4.44.",
)
_STANDARD = "1.2.840.10008."
# JPIP: the pixels stay where they are, and only their address would come
_ELSEWHERE = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (94, 95, 204, 205))
_SYNTAXES = frozenset(str(one) for one in AllTransferSyntaxes) - _ELSEWHERE
_PERMANENT, _TRANSIENT = 1, 2


@dataclass(frozen=True)
class Rejection:
    """Why an association is not made; the numbers are those of PS3.8 table 9-21."""

    words: str
    result: int
    source: int
    reason: int


_UNKNOWN_CALLED = Rejection("the called AE title is not ours", _PERMANENT, 1, 7)
_UNKNOWN_CALLING = Rejection("the calling AE title is not allowed", _PERMANENT, 1, 3)
_OTHER_APPLICATION = Rejection("the application context is not DICOM", _PERMANENT, 1, 2)
_OTHER_VERSION = Rejection("the protocol version is not supported", _PERMANENT, 2, 2)
FULL = Rejection("the limit of associations is reached", _TRANSIENT, 3, 2)


def refusal(request: pdu.AssociateRequest, aet: str, allowed_aets: Collection[str]) -> Rejection | None:
    """Why an association is refused, whatever the load; None when it is not.

    Args:
        request: What a peer asks for.
        aet: Our AE title.
        allowed_aets: Calling AE titles that are let in; none: all.
    """
    if not request.version & 1:
        return _OTHER_VERSION
    if request.application != pdu.APPLICATION_CONTEXT:
        return _OTHER_APPLICATION
    if request.called != aet:
        return _UNKNOWN_CALLED
    if allowed_aets and request.calling not in allowed_aets:
        return _UNKNOWN_CALLING
    return None


def choice(proposal: pdu.Proposal) -> tuple[int, str]:
    """Result and transfer syntax of a presentation context: the first one that we know, as nothing is rewritten."""
    first = proposal.transfer_syntaxes[0] if proposal.transfer_syntaxes else ""
    if not _served(proposal.abstract_syntax):
        return pdu.NO_ABSTRACT_SYNTAX, first
    known = _SIMPLE if proposal.abstract_syntax in {VERIFICATION, PUSH_MODEL} else _SYNTAXES
    for one in proposal.transfer_syntaxes:
        if one in known:
            return pdu.ACCEPTED, one
    return pdu.NO_TRANSFER_SYNTAX, first


def _served(abstract_syntax: str) -> bool:
    """Verification, every storage class of the standard also of editions to come, and every private class."""
    if abstract_syntax in {VERIFICATION, PUSH_MODEL} or abstract_syntax.startswith(_STORAGE):
        return True
    return bool(abstract_syntax) and not abstract_syntax.startswith(_STANDARD)
