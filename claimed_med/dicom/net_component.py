"""What the components on the DICOM network do: find, fetch, send, and account for every object."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

from claimed_med import scratch
from claimed_med.dicom.fetching import take_landed
from claimed_med.dicom.net_commit import COMMITTED, UNANSWERED, commit
from claimed_med.dicom.net_node import UID_FORM, NoAssociationError, Node, check_uid
from claimed_med.dicom.net_query import echo, find, parse_query
from claimed_med.dicom.net_retrieve import get, move
from claimed_med.dicom.net_send import Sent, send
from claimed_med.dicom.storing import refuse_left
from claimed_med.errors import ContractError, InputError, OutputError, name_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from claimed_med.dicom.intake import Intake

NO_DICOM = frozenset({"NotDicom", "DicomDirectory"})
_SHOWN = 5


def listen_address(text: str) -> tuple[str, int]:
    """Read `host:port`.

    Raises:
        ContractError: The text has another form.
    """
    host, _, port = text.strip().rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ContractError("network", "the address to listen on cannot be read", allowed="host:port")
    return host.strip("[]"), int(port)


def find_rows(node: Node, query: str, max_studies: int) -> list[dict[str, Any]]:
    """One row a study that matches, sorted by study_uid.

    Raises:
        InputError: More than `max_studies` match; otherwise as `find`.
    """
    found = list(find(node, parse_query(query), limit=max_studies + 1))
    if len(found) > max_studies:
        raise InputError("network", "more studies match than max_studies", do="narrow the query, or raise max_studies")
    return [
        {
            "study_uid": one.study_uid,
            "modalities": ",".join(one.modalities),
            "n_series": one.n_series,
            "n_instances": one.n_instances,
        }
        for one in sorted(found, key=lambda one: one.study_uid)
    ]


def fetch(node: Node, query: str, method: Literal["get", "move"], max_studies: int, listen: str) -> Intake:
    """Fetch what a query finds into a folder that outlives a kill, and take it over from there.

    Args:
        node: Where from.
        query: As `parse_query` takes it, or StudyInstanceUIDs separated by commas.
        method: C-GET or C-MOVE.
        max_studies: More is an error: a slip in a query must not empty an archive onto this disk.
        listen: Where the node sends to, for C-MOVE.

    Raises:
        ContractError: The query is empty, or cannot be read.
        InputError: No study matches, too many do, or objects are missing after all tries.
    """
    studies = _studies(node, query, max_studies)
    with scratch.landing(f"{node.aet}@{node.host}:{node.port} {query}") as place:
        if method == "get":
            fetched = get(node, studies, place)
        else:
            fetched = move(node, studies, place, listen=listen_address(listen))
        if fetched.missing:
            raise InputError(
                "network",
                "objects did not come, though the node holds them",
                got=f"{len(fetched.missing)} missing: {', '.join(fetched.missing[:_SHOWN])}",
                do="run again: it goes on where it stopped",
            )
        return take_landed(place, fetched.files)


def send_all(node: Node, paths: Sequence[Path], *, committed: bool, listen: str) -> dict[str, Any]:
    """Send objects and account for each.

    Args:
        node: Where to.
        paths: Files; what is no DICOM object stays here and is listed as skipped.
        committed: Whether the node must commit to the storage of every object.
        listen: Where the node reports on that; '' for the same association.

    Returns:
        The receipt as JSON-ready values.

    Raises:
        InputError: There is no object.
        OutputError: Some objects were not stored, or not committed to; all others were sent.
        RefusedError: An object says that it is de-identified, and something was left in it; nothing was sent.
    """
    refuse_left(paths)
    results = send(node, paths)
    objects = sorted((one for one in results if one.reason not in NO_DICOM), key=lambda one: one.sop_uid)
    if not objects:
        raise InputError("network", "there is no object to send")
    _require("were not stored", {_named(one): one.reason for one in objects if one.outcome == "failed"}, len(objects))
    promises: dict[str, str] = {}
    if committed:
        wanted = [(one.sop_class_uid, one.sop_uid) for one in objects]
        promises = commit(node, wanted, listen=listen_address(listen) if listen else None)
        unsure = {uid: words for uid, words in promises.items() if words != COMMITTED}
        _require("were stored, but the node does not commit to it", unsure, len(objects))
    counts = Counter(one.outcome for one in objects)
    return {
        "n_objects": len(objects),
        "counts": dict(sorted(counts.items())),
        "n_committed": len(promises),
        "skipped": sorted(name_of(one.path) for one in results if one.reason in NO_DICOM),
        "objects": [_line(one, promises) for one in objects],
    }


def echo_status(node: Node) -> dict[str, Any]:
    """Whether a node answers C-ECHO, and if not, why; JSON-ready."""
    try:
        echo(node)
    except NoAssociationError as error:
        return {"answers": False, "finding": error.what, "permanent": error.permanent}
    except InputError as error:
        return {"answers": False, "finding": f"{error.what} ({error.got})", "permanent": False}
    return {"answers": True, "finding": "", "permanent": False}


def _studies(node: Node, query: str, max_studies: int) -> list[str]:
    words = query.replace(",", " ").split()
    if not words:
        raise ContractError("network", "the query is empty", do="set ModalitiesInStudy=CT&StudyDate=..., or study UIDs")
    if all(UID_FORM.fullmatch(word) for word in words):
        found = sorted({check_uid(word) for word in words})
        if len(found) > max_studies:
            raise InputError("network", "more studies are named than max_studies", got=len(found))
        return found
    rows = find_rows(node, query, max_studies)
    if not rows:
        raise InputError("network", "no study matches the query", do="check the query")
    return [row["study_uid"] for row in rows]


def _line(one: Sent, promises: dict[str, str]) -> dict[str, str]:
    line = {"sop_uid": one.sop_uid, "status": one.outcome}
    if one.reason:
        line["reason"] = one.reason
    if promises:
        line["commitment"] = promises.get(one.sop_uid, UNANSWERED)
    return line


def _require(what: str, failures: dict[str, str], n_objects: int) -> None:
    if failures:
        shown = "; ".join(f"{name}: {reason}" for name, reason in sorted(failures.items())[:_SHOWN])
        raise OutputError(
            "network", f"{len(failures)} of {n_objects} objects {what}", got=shown, do="run again: repeats are harmless"
        )


def _named(one: Sent) -> str:
    return one.sop_uid or name_of(one.path)
