"""DIMSE as a client: echo, find, get, move, send and storage commitment. The public names; each has its own module.

node = Node.parse("ARCHIVE@pacs.example:11112")
echo(node)
for match in find(node, {"StudyDate": "20260101-", "ModalitiesInStudy": "CT"}):
    get(node, [match.study_uid], folder)
send(other, paths)
"""

from claimed_med.dicom.net_commit import commit
from claimed_med.dicom.net_node import NoAssociationError, Node, association, check_uid
from claimed_med.dicom.net_query import Level, Match, echo, find, parse_query
from claimed_med.dicom.net_retrieve import Retrieved, get, move
from claimed_med.dicom.net_send import Sent, send
from claimed_med.dicom.net_tls import Tls

__all__ = [
    "Level",
    "Match",
    "NoAssociationError",
    "Node",
    "Retrieved",
    "Sent",
    "Tls",
    "association",
    "check_uid",
    "commit",
    "echo",
    "find",
    "get",
    "move",
    "parse_query",
    "send",
]
