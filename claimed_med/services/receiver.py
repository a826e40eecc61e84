"""Receive DICOM objects over the network (C-STORE and C-ECHO SCP): each is durable before its sender hears of success.

PDUs are read by this package itself, with limits before anything is read. A general library polls several threads for
each association: with four of them it is half as fast, though it does not wait for the disk (see the benchmark).
"""

from __future__ import annotations

import fcntl
import ipaddress
import logging
import os
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from claimed_med.dicom.net_tls import server_context
from claimed_med.errors import InputError
from claimed_med.services import admission, dimse
from claimed_med.services.admission import VERIFICATION, Rejection
from claimed_med.services.association import Association, Context, Dropped, Sink
from claimed_med.services.commitment import PUSH_MODEL, Commitment
from claimed_med.services.receiver_metrics import ReceiverMetrics
from claimed_med.services.receiver_settings import ReceiverSettings
from claimed_med.services.storage import Answer, Limits, StorageService

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from claimed_med.dicom.net_tls import Tls
    from claimed_med.services import pdu
    from claimed_med.services.incoming import Received, Store

__all__ = ["Receiver", "ReceiverSettings", "main"]

log = logging.getLogger("claimed_med.receiver")
_WAITING_ROOM = 32  # connections above the limit that are told so, or have not said who they are yet
_TICK_S, _QUIET_S, _TO_CUT_S = 0.2, 10.0, 5.0


class Receiver:
    """A storage SCP on threads of this process, one for each association.

    A process that holds one starts others with exec, never with a bare fork: the child would keep port and folder.

    Args:
        settings: How it behaves.
        store: Where objects go; no other receiver may write there.
        kept: Called with each object after it is durable and before success is answered, also with objects that were
            there already (`repeated`), from several threads at once. When it raises, the sender gets a failure status
            and may send again.
    """

    def __init__(
        self, settings: ReceiverSettings, store: Store, kept: Callable[[Received], None] | None = None
    ) -> None:
        self.settings, self.store = settings, store
        self.max_pdu_bytes = settings.max_pdu_bytes
        self.most_dropped_bytes = 2 * settings.max_object_bytes
        self.handshake_s, self.progress_s, self.idle_s = settings.handshake_s, settings.progress_s, settings.idle_s
        self._storage = StorageService(store, Limits(settings.max_object_bytes, settings.min_free_bytes), kept)
        self._networks = settings.networks()
        self._secure: ssl.SSLContext | None = None
        self._listening: socket.socket | None = None
        self._lock_file: int | None = None
        self._open: dict[Association, threading.Thread] = {}
        self._inside: set[int] = set()
        self._guard = threading.Lock()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self.metrics = ReceiverMetrics(self._storage.free_bytes, lambda: len(self._inside))
        self._told = 0.0

    @property
    def port(self) -> int:
        """The TCP port that is listened on."""
        return int(self._listening.getsockname()[1]) if self._listening else self.settings.port

    def start(self) -> None:
        """Listen.

        Raises:
            InputError: The port cannot be opened, the certificate cannot be used, or another receiver has the folder.
        """
        if self.settings.tls is not None:
            self._secure = _secure(self.settings.tls)
        self._lock_file = _locked(self.store)
        try:
            self.store.recover()
            if self.settings.metrics_port:
                self.metrics.serve(self.settings.metrics_host, self.settings.metrics_port)
            self._listening = _listening(self.settings.host, self.settings.port)
        except BaseException:
            self.metrics.close()
            self._unlock()
            raise
        for work in (self._accept, self._watch):
            self._threads.append(threading.Thread(target=work, name=f"receiver{work.__name__}", daemon=True))
            self._threads[-1].start()
        log.info("listening port=%d tls=%s", self.port, "yes" if self._secure else "no")

    def stop(self, grace_s: float = 10.0) -> None:
        """Take no more associations, let objects that are on their way arrive, then end all.

        Args:
            grace_s: Longest wait for that [s].
        """
        self._stopping.set()
        if self._listening is not None:
            with suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
        for thread in self._threads:
            thread.join()
        for association in self._associations():
            association.stop()
        self._join(grace_s)
        for association in self._associations():
            association.cut()
        self._join(_TO_CUT_S)
        self.metrics.close()
        self._unlock()
        log.info("stopped")

    # what associations ask

    def check(self, request: pdu.AssociateRequest) -> Rejection | None:
        """Whether to refuse an association."""
        refusal = admission.refusal(request, self.settings.aet, self.settings.allowed_aets)
        if refusal is not None:
            return refusal
        with self._guard:
            if len(self._inside) >= self.settings.max_associations:
                return admission.FULL
            self._inside.add(threading.get_ident())
        return None

    def choose(self, proposal: pdu.Proposal) -> tuple[int, str]:
        """Result and transfer syntax of a presentation context."""
        return admission.choice(proposal)

    def sink(self, association: Association, request: dimse.Command, context: Context) -> Sink:
        """What takes the data set of a request."""
        if request.sop_class != context.abstract_syntax:
            return Dropped(Answer(dimse.NO_SUCH_CLASS, "not the SOP class of the presentation context"))
        operation = (request.field, context.abstract_syntax)
        if operation == (dimse.C_ECHO, VERIFICATION):
            return Dropped(Answer(dimse.SUCCESS))
        if operation == (dimse.N_ACTION, PUSH_MODEL):
            return Commitment(association, self.store, request, context)
        if request.field != dimse.C_STORE or context.abstract_syntax in {VERIFICATION, PUSH_MODEL}:
            return Dropped(Answer(dimse.UNRECOGNISED_OPERATION))
        if not request.has_data:
            return Dropped(Answer(dimse.CANNOT_UNDERSTAND, "there is no data set"))
        return self._storage.begin(request, context.transfer_syntax, association.calling_aet)

    def answered(self, request: dimse.Command, answer: Answer, seconds: float, n_bytes: int) -> None:
        """A request was answered."""
        if request.field != dimse.C_STORE:
            return
        stored = answer.status == dimse.SUCCESS
        outcome = "refused" if not stored else "repeated" if answer.repeated else "stored"
        self.metrics.objects.labels(outcome, f"0x{answer.status:04X}").inc()
        self.metrics.n_bytes.inc(n_bytes)
        self.metrics.seconds.observe(seconds)
        if not stored:
            why = answer.comment.replace(" ", "-")
            log.warning("object=refused status=0x%04X why=%s bytes=%d", answer.status, why, n_bytes)

    # threads

    def _accept(self) -> None:
        listening = self._listening
        while listening is not None and not self._stopping.is_set():
            try:
                connection, peer = listening.accept()
            except OSError:
                if not self._stopping.is_set():
                    self._turned_away("no more open files")
                    self._stopping.wait(_TICK_S)  # until some are closed
                continue
            address = str(peer[0])
            if not self._is_allowed(address):
                self._turned_away("address not allowed")
                connection.close()
            elif self._is_crowded():
                self._turned_away("flood")
                connection.close()
            else:
                self._admit(Association(connection, address, self, self._secure))

    def _admit(self, association: Association) -> None:
        thread = threading.Thread(target=self._serve, args=(association,), daemon=True)
        with self._guard:
            self._open[association] = thread
        try:
            thread.start()
        except RuntimeError:
            self._turned_away("no more threads")
            association.close()
            with self._guard:
                self._open.pop(association, None)

    def _is_crowded(self) -> bool:
        """Whether there are too many connections; the oldest that has not said who it is makes room for a new one."""
        with self._guard:
            n_more = len(self._open) - self.settings.max_associations
            silent = next((one for one in self._open if not one.calling_aet), None)
        if n_more >= _WAITING_ROOM and silent is not None:
            silent.cut()
        return n_more >= 2 * _WAITING_ROOM

    def _turned_away(self, why: str) -> None:
        """Count a connection that was closed at once; log one in a while, lest the log fill the disk."""
        self.metrics.ended.labels(why).inc()
        if time.monotonic() - self._told > _QUIET_S:
            self._told = time.monotonic()
            log.warning("connection=closed why=%s", why.replace(" ", "-"))

    def _serve(self, association: Association) -> None:
        try:
            outcome = association.run()
            self.metrics.ended.labels(outcome).inc()
            log.info("peer=%s association=ended how=%s", association.address, outcome.replace(" ", "-"))
        except Exception as error:  # noqa: BLE001 - one association must never end the others
            self.metrics.ended.labels("internal error").inc()
            what = type(error).__name__  # no trace: it may quote a header
            log.error("peer=%s association=failed error=%s", association.address, what)  # noqa: TRY400 - see above
        finally:
            with self._guard:
                self._inside.discard(threading.get_ident())
                self._open.pop(association, None)

    def _watch(self) -> None:
        """Cut off whoever is too slow."""
        while not self._stopping.wait(_TICK_S):
            now = time.monotonic()
            for association in self._associations():
                if association.deadline < now:
                    log.warning("peer=%s association=cut why=too-slow", association.address)
                    association.cut()

    def _associations(self) -> list[Association]:
        with self._guard:
            return list(self._open)

    def _join(self, within_s: float) -> None:
        until = time.monotonic() + within_s
        with self._guard:
            threads = list(self._open.values())
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _is_allowed(self, address: str) -> bool:
        if not self._networks:
            return True
        given = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
        mapped = getattr(given, "ipv4_mapped", None)
        return any((mapped or given) in network for network in self._networks)

    def _unlock(self) -> None:
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(128)
    except (OSError, OverflowError) as error:
        made.close()
        raise InputError("receiver", "cannot listen", got=f"port {port} ({type(error).__name__})") from None
    return made


def _locked(store: Store) -> int:
    """Take the folder for this process."""
    handle = os.open(store.folder / ".receiver.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise InputError("receiver", "another receiver writes to the folder", do="stop it first") from None
    return handle


def _secure(tls: Tls) -> ssl.SSLContext:
    if tls.cert is None or tls.key is None:
        raise InputError("receiver", "TLS needs our certificate and its key")
    return server_context(tls.cert, tls.key, tls.ca)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `claimed-med net serve`; see `claimed_med.services.receiver_cli`."""
    from claimed_med.services.receiver_cli import serve

    return serve(argv)
