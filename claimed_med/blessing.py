"""Whether a decision blesses exactly one payload, and whether it can be trusted. Standard library only.

A decision is signed with the project's secret when it is made. Where the secret is set here (CLAIMED_MED_SECRET or
CLAIMED_MED_SECRET_FILE), the signature must hold; elsewhere it cannot be checked, and the lineage says so.
"""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from claimed_med import secret
from claimed_med.errors import ContractError, RefusedError
from claimed_med.plain_handles import BLESSED

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

LONGEST_REASON = 200
SIGNED, UNCHECKED, NONE = "signed", "signature not checked", "none"


@dataclass(frozen=True)
class Blessing:
    """Why a payload may be used.

    Attributes:
        state: `signed` (the signature holds), `signature not checked` (no secret is set here), or `none`.
        policy: sha256 of the policy that was applied, or ''.
        override: Why it is used without a blessing; '' where there is one.
    """

    state: str
    policy: str = ""
    override: str = ""

    def statements(self) -> dict[str, str]:
        """What the lineage record says."""
        told = {"blessing": self.state, "policy_sha256": self.policy, "blessing_override": self.override}
        return {name: value for name, value in told.items() if value}


def require(
    where: str,
    decision: Mapping[str, Any] | None,
    subjects: Collection[str],
    *,
    port: str = "decision",
    override: str = "",
) -> Blessing:
    """Refuse what no decision blesses.

    Args:
        where: The component or service that speaks.
        decision: As parsed JSON, or None where there is none.
        subjects: Payload digests of which one must be the blessed one.
        port: Name of the decision in texts.
        override: Why to go on all the same; '' for not at all.

    Raises:
        ContractError: The override is longer than a line.
        RefusedError: There is no blessing of this payload, and no override.
    """
    fault = _fault(decision, subjects, port)
    if fault is None:
        state = SIGNED if secret.is_given() else UNCHECKED
        return Blessing(state, str((decision or {}).get("policy_sha256", "")))
    if not override:
        what, told = fault
        raise RefusedError(where, what, **told)
    if len(override) > LONGEST_REASON or not override.isprintable():
        raise ContractError(where, "override is no line of text", got=f"{len(override)} characters", allowed="1-200")
    return Blessing(NONE, override=override)


def signature_of(policy_sha256: str, subject: str, verdict: str) -> str:
    """The signature of a decision."""
    return secret.signature(json.dumps([policy_sha256, subject, verdict]))


def _fault(
    decision: Mapping[str, Any] | None, subjects: Collection[str], port: str
) -> tuple[str, dict[str, str]] | None:
    if decision is None:
        return "there is no decision on this payload", {"do": "make one with bless-model"}
    verdict, subject = str(decision.get("verdict")), str(decision.get("subject"))
    if verdict != BLESSED:
        return f"{port} is a refusal", {"do": "read its reasons; nothing was done"}
    if subject not in subjects:
        return f"{port} blesses another payload than the one given", {
            "got": subject[:12],
            "allowed": ", ".join(sorted(one[:12] for one in subjects)),
            "do": "bless this payload, or give the one that was blessed",
        }
    if secret.is_given():
        expected = signature_of(str(decision.get("policy_sha256", "")), subject, verdict)
        if not hmac.compare_digest(expected, str(decision.get("signature", ""))):
            return f"{port} is not signed with the secret of this project", {
                "do": "bless it with this project's secret"
            }
    return None
