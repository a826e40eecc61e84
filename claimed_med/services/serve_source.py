"""Where a model that is to be served comes from, and whether it may be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from claimed_med.blessing import Blessing, require
from claimed_med.errors import InputError, RefusedError
from claimed_med.handles import Decision
from claimed_med.models.servable import BUNDLE, DECISION, DESCRIPTION


@dataclass(frozen=True)
class Source:
    """Where a model comes from.

    Attributes:
        place: Bundle, or servable folder of package-model.
        decision: Decision on it; None for the one of the servable folder.
        override: Why it is served without a blessing; ''.
        expected: Digest that the bundle must have, blessed or not; '' for any.
    """

    place: Path
    decision: Path | None = None
    override: str = ""
    expected: str = ""

    @property
    def is_servable(self) -> bool:
        """Whether it is a folder of package-model."""
        return (self.place / DESCRIPTION).is_file()

    @property
    def bundle(self) -> Path:
        """The folder of the bundle."""
        return self.place / BUNDLE if self.is_servable else self.place

    def blessing(self, where: str, digest: str) -> Blessing:
        """Why a bundle of this digest may be served.

        Args:
            where: Who asks.
            digest: Payload digest of what is to be served.

        Raises:
            InputError: There is nothing where the decision is said to lie.
            RefusedError: It is another than the expected one, or not blessed, and there is no override.
        """
        if self.expected and digest != self.expected:
            raise RefusedError(
                where,
                "the bundle is another than the one that is expected here",
                got=digest[:12],
                allowed=self.expected[:12],
                do="deploy it anew, or put the expected one back",
            )
        if self.decision is not None and not self.decision.exists():
            raise InputError(
                where, "there is nothing at the place of the decision", do="check --decision, or --canary-decision"
            )
        decision = self.decision or (self.place / DECISION if self.is_servable else None)
        content = Decision(decision).load() if decision is not None and decision.exists() else None
        return require(where, content, {digest}, override=self.override)
