"""How a receiver of DICOM objects behaves, and that strangers are kept out wherever others can reach it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from claimed_med.dicom.web_auth import is_loopback
from claimed_med.errors import ContractError

if TYPE_CHECKING:
    from claimed_med.dicom.net_tls import Tls


@dataclass(frozen=True)
class ReceiverSettings:
    """How a receiver behaves.

    Attributes:
        host: Address to bind to.
        port: TCP port; 0 for any free one.
        aet: Our AE title; calls to other titles are rejected.
        allowed_aets: Calling AE titles that are let in; none: all.
        allowed_addresses: Addresses or networks that are let in (`10.1.0.0/16`); none: all.
        tls: Our certificate and key; with a `ca`, clients must show a certificate of it. None: no TLS.
        max_associations: At one time.
        max_pdu_bytes: Longest PDU.
        max_object_bytes: Largest object, as sent and inflated.
        min_free_bytes: What stays free on the disk.
        metrics_port: Where Prometheus finds the metrics; 0: nowhere.
        metrics_host: Address to bind that to.
        handshake_s: Longest time until an association is agreed on [s].
        progress_s: Longest time for one PDU inside a message [s].
        idle_s: Longest time between messages [s].
    """

    host: str = "127.0.0.1"
    port: int = 11112
    aet: str = "CLAIMED_MED"
    allowed_aets: frozenset[str] = frozenset()
    allowed_addresses: tuple[str, ...] = ()
    tls: Tls | None = None
    max_associations: int = 32
    max_pdu_bytes: int = 1 << 18
    max_object_bytes: int = 4 << 30
    min_free_bytes: int = 1 << 30
    metrics_port: int = 0
    metrics_host: str = "127.0.0.1"
    handshake_s: float = 10.0
    progress_s: float = 30.0
    idle_s: float = 300.0

    def __post_init__(self) -> None:
        """Check what was set.

        Raises:
            ContractError: It is not allowed.
        """
        if not 0 < len(self.aet) <= 16 or not self.aet.isascii() or not self.aet.isprintable() or "\\" in self.aet:
            raise ContractError("receiver", "our AE title is not allowed", allowed="1-16 printable characters, no \\")
        if not 4096 <= self.max_pdu_bytes <= 1 << 24:
            raise ContractError(
                "receiver", "max_pdu_bytes is not allowed", got=self.max_pdu_bytes, allowed="4096-16777216"
            )
        if self.max_associations < 1:
            raise ContractError(
                "receiver", "max_associations is not allowed", got=self.max_associations, allowed=">= 1"
            )
        self.networks()
        if not self.guarded() and not is_loopback(self.host):
            raise ContractError(
                "receiver",
                "whoever reaches this address could store objects",
                do="allow AE titles and addresses, or require client certificates (TLS with an authority)",
            )

    def guarded(self) -> bool:
        """Whether strangers are kept out."""
        certified = self.tls is not None and self.tls.ca is not None
        return certified or bool(self.allowed_addresses and self.allowed_aets)

    def networks(self) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        """The allowed addresses as networks.

        Raises:
            ContractError: One is none.
        """
        try:
            return [ipaddress.ip_network(one, strict=False) for one in self.allowed_addresses]
        except ValueError:
            raise ContractError(
                "receiver", "an allowed address cannot be read", allowed="such as 10.1.2.3 or 10.1.0.0/16"
            ) from None
