"""A DICOM node on the network, and associations with it.

What other libraries log or warn about may quote headers, so pynetdicom is silenced when this module is imported; we
say what went wrong ourselves, with status codes and UIDs only.
"""

from __future__ import annotations

import logging
import queue
import re
import ssl
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from socket import IPPROTO_TCP, SHUT_RDWR, TCP_NODELAY
from typing import TYPE_CHECKING, Any

from pynetdicom import AE, _config, evt
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.transport import AssociationSocket

from claimed_med.dicom.header import quiet
from claimed_med.dicom.net_tls import Tls, client_context, server_context
from claimed_med.dicom.uid import IMPLEMENTATION_UID
from claimed_med.errors import ContractError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from socket import socket

CALLING_AET = "CLAIMED_MED"
TIMEOUT_S = 30.0
MAX_PDU = 131072
UID_FORM = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")
SUCCESS = 0x0000
PENDING = frozenset({0xFF00, 0xFF01})
_ADDRESS = re.compile(r"(?P<tls>tls:)?(?P<aet>[^@]+)@(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:@/\[\]]+):(?P<port>[0-9]{1,5})")
_AET = re.compile(r"[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?")  # printable ASCII but the backslash
# PS3.8 table 9-21: (source, reason) -> words; rejections that time may heal
_REASONS = {
    (1, 2): "the application context is not supported",
    (1, 3): "our AE title is not known there",
    (1, 7): "the called AE title is not known there",
    (2, 2): "the protocol version is not supported",
    (3, 1): "it is congested for a while",
    (3, 2): "it has reached its limit of associations",
}
_TRANSIENT = 2

logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
_config.LOG_HANDLER_LEVEL = "none"
_config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
_config.STORE_SEND_CHUNKED_DATASET = True  # files go out as they lie on the disk


class NoAssociationError(InputError):
    """There is no association with a node, or it ended too early.

    Attributes:
        permanent: Whether trying again is useless until somebody changes a configuration.
    """

    permanent: bool = False


@dataclass(frozen=True)
class Node:
    """An application entity on the network.

    Attributes:
        host: Name or IP address.
        port: TCP port.
        aet: Its AE title, 1-16 characters.
        calling_aet: Our AE title.
        tls: Files for TLS, or None for a plain connection.
        timeout_s: Longest wait for a connection, for one answer and for a release [s].
    """

    host: str = field(repr=False)
    port: int = field(repr=False)
    aet: str = field(repr=False)
    calling_aet: str = field(default=CALLING_AET, repr=False)
    tls: Tls | None = field(default=None, repr=False)
    timeout_s: float = TIMEOUT_S

    def __post_init__(self) -> None:
        """Check titles and port.

        Raises:
            ContractError: They are not allowed.
        """
        if not _AET.fullmatch(self.aet) or not _AET.fullmatch(self.calling_aet):
            raise ContractError(
                "network", "an AE title is not allowed", allowed="1-16 printable ASCII characters, no \\"
            )
        if not self.host or not 0 < self.port < 65536:
            raise ContractError("network", "the port or host is not allowed", allowed="a host and a port of 1-65535")

    @classmethod
    def parse(
        cls, address: str, *, calling_aet: str = CALLING_AET, tls: Tls | None = None, timeout_s: float = TIMEOUT_S
    ) -> Node:
        """Read an address text.

        Args:
            address: `AET@host:port`, `AET@[IPv6]:port`, with `tls:` in front for TLS.
            calling_aet: Our AE title.
            tls: Files for TLS; by default those that the environment names.
            timeout_s: Longest wait for one answer [s].

        Raises:
            ContractError: The text is no address; it is not shown, since it may name the site.
        """
        found = _ADDRESS.fullmatch(address.strip())
        if found is None:
            raise ContractError("network", "the address of the node cannot be read", allowed="[tls:]AET@host:port")
        secure = (tls or Tls.from_environment()) if found["tls"] else None
        return cls(found["host"].strip("[]"), int(found["port"]), found["aet"], calling_aet, secure, timeout_s)


def check_uid(value: object, where: str = "network") -> str:
    """Return a UID that is one (PS3.5 section 9.1, leading zeros tolerated nowhere); it may become a file name.

    Raises:
        InputError: It is none.
    """
    text = str(value or "").strip(" \0")
    if len(text) > 64 or not UID_FORM.fullmatch(text):
        raise InputError(where, "something that should be a UID is none", allowed="at most 64 digits and dots")
    return text


class _Socket(AssociationSocket):  # type: ignore[misc]  # pynetdicom has no types
    """A socket that is closed even when its peer has gone; pynetdicom leaves that to the garbage collector."""

    def _shutdown_socket(self) -> None:
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(SHUT_RDWR)
            self.socket.close()


class _Entity(AE):  # type: ignore[misc]  # as above
    """An application entity whose own connections use such sockets."""

    def _create_socket(self, assoc: Any, address: Any, tls_args: Any) -> _Socket:
        made = _Socket(assoc, address=address)
        made.tls_args = tls_args
        return made


def client_entity(node: Node) -> AE:
    """An application entity with the title and time-outs of a node's address."""
    entity = _Entity(ae_title=node.calling_aet)
    entity.implementation_class_uid = IMPLEMENTATION_UID
    entity.implementation_version_name = "CLAIMED_MED"
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = node.timeout_s
    entity.network_timeout = 2 * node.timeout_s
    return entity


def prepare(event: Any) -> None:
    """Prepare a fresh connection.

    Small packets are sent at once: a command and its data set are two writes, and waiting costs 40 ms an object. A peer
    that stops in the middle of a message is left: pynetdicom would wait for the rest, and we for pynetdicom.
    """
    event.assoc.dul.socket.__class__ = _Socket  # that of an association which the node opened is pynetdicom's own
    connection = event.assoc.dul.socket.socket
    connection.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    connection.settimeout(event.assoc.dimse_timeout)


@contextmanager
def association(
    node: Node, contexts: Sequence[Any], *, handlers: Sequence[Any] = (), roles: Sequence[Any] = ()
) -> Iterator[Any]:
    """Open an association for the time of the block; it is released at the end, aborted after an error.

    Args:
        node: With whom.
        contexts: Presentation contexts to propose, at most 128.
        handlers: pynetdicom event handlers.
        roles: Role selection items.

    Raises:
        NoAssociationError: It could not be made, or the node has ended it before we say what we want.
    """
    with quiet():
        opened = _associate(node, contexts, handlers, roles)
        try:
            yield opened
        except BaseException as error:
            is_lost = type(error) is RuntimeError and not opened.is_established  # so pynetdicom refuses to send
            opened.abort()
            if is_lost:
                raise lost("the exchange") from None
            raise
        if opened.is_established:
            opened.release()


def _associate(node: Node, contexts: Sequence[Any], handlers: Sequence[Any], roles: Sequence[Any]) -> Any:
    connected: list[bool] = []

    def opened(event: Any) -> None:
        prepare(event)
        connected.append(True)

    secure = None
    if node.tls is not None:
        secure = (client_context(node.tls.ca, node.tls.cert, node.tls.key), node.host)
    try:
        made = client_entity(node).associate(
            node.host,
            node.port,
            contexts=list(contexts),
            ae_title=node.aet,
            max_pdu=MAX_PDU,
            ext_neg=list(roles),
            tls_args=secure,
            evt_handlers=[(evt.EVT_CONN_OPEN, opened), *handlers],
        )
    except OSError:
        raise NoAssociationError("network", "the host name of the node cannot be resolved") from None
    if made.is_established:
        return made
    raise _refusal(made, node, connected=bool(connected))


def _refusal(made: Any, node: Node, *, connected: bool) -> NoAssociationError:
    """Why there is no association."""
    primitive = _rejection(made)
    if primitive is not None:
        key = (primitive.result_source, primitive.diagnostic)
        words = _REASONS.get(key, "it gives no reason")
        error = NoAssociationError(
            "network", f"the node rejects the association: {words}", got=f"source {key[0]}, reason {key[1]}"
        )
        error.permanent = primitive.result != _TRANSIENT
        return error
    if not connected:
        what = "no TLS connection to the node" if node.tls else "no connection to the node"
        do = "check that it runs, host, port" + (", certificates and host name in them" if node.tls else "")
        return NoAssociationError("network", what, do=do)
    if made.rejected_contexts and not made.accepted_contexts:
        error = NoAssociationError("network", "the node supports none of the proposed services")
        error.permanent = True
        return error
    return NoAssociationError(
        "network",
        "the node ends the connection during the negotiation",
        do="check whether it wants TLS" if node.tls is None else "check whether it wants a client certificate",
    )


def _rejection(made: Any) -> Any:
    """The A-ASSOCIATE that rejects us, or None.

    A node that rejects at once has ended the connection before pynetdicom looks whether there is one; it then aborts,
    and leaves the answer unread.
    """
    if made.is_rejected:
        return made.acceptor.primitive
    with suppress(queue.Empty):
        answer = made.dul.to_user_queue.get(block=False)
        if isinstance(answer, A_ASSOCIATE) and answer.result:
            return answer
    return None


def lost(what: str) -> NoAssociationError:
    """The error for an association that ended, or a node that fell silent, in the middle of `what`."""
    return NoAssociationError("network", f"the node fell silent or ended the association during {what}")


@dataclass(frozen=True)
class _Handshake:
    """TLS of a listener; pynetdicom agrees on it while nobody else can come in, and without an end."""

    context: ssl.SSLContext
    timeout_s: float

    def wrap_socket(self, connection: socket, **options: Any) -> ssl.SSLSocket:
        """Agree on TLS, or give up."""
        connection.settimeout(self.timeout_s)
        return self.context.wrap_socket(connection, **options)


def _listener_context(node: Node) -> _Handshake | None:
    """TLS for a listener of ours with the same certificate as our connections; None without one."""
    tls = node.tls
    if tls is None or tls.cert is None or tls.key is None:
        return None
    return _Handshake(server_context(tls.cert, tls.key, tls.ca), node.timeout_s)


@contextmanager
def listener(
    node: Node,
    listen: tuple[str, int],
    contexts: Sequence[Any],
    handlers: Sequence[Any],
) -> Iterator[int]:
    """Listen for the node's own associations to our AE title for the time of the block; yields the port.

    Args:
        node: Whose calls are awaited; its TLS files serve here too.
        listen: Address to bind to, and port (0: any free one).
        contexts: Supported presentation contexts.
        handlers: pynetdicom event handlers.

    Raises:
        InputError: The port cannot be opened, or the TLS files cannot be used.
    """
    entity = client_entity(node)
    entity.require_called_aet = True
    entity.maximum_pdu_size = MAX_PDU
    try:
        server = entity.start_server(
            listen,
            block=False,
            ssl_context=_listener_context(node),
            evt_handlers=[(evt.EVT_CONN_OPEN, prepare), *handlers],
            contexts=list(contexts),
        )
    except OSError as error:
        raise InputError(
            "network", "cannot listen on the port", got=f"port {listen[1]} ({type(error).__name__})"
        ) from None
    try:
        yield int(server.socket.getsockname()[1])
    finally:
        server.shutdown()
        entity.shutdown()
