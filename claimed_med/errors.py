"""Every error this library raises on purpose, and the rule for what their texts may say.

    ClaimedMedError              exit code 1
    |-- ContractError            2   an option, name, port, setting or declaration that is not allowed or not known
    |-- InputError               3   a file, server or data that is missing or cannot be used; carries `findings`
    |-- MissingDependencyError   4   an optional package or program is not installed
    |-- ModelError               5   weights or network do not fit, or gave nonsense
    |-- RefusedError             6   a Decision is not a blessing of this very payload
    |-- OutputError              7   a result is not valid, or could not be written
    `-- EngineError              8   the engine could not run the pipeline (or a task of it failed)

Commands that answer a question end with NOTHING_FOUND, 9, when they looked and there is nothing: no error, no answer.

The text of each reads *where: what; got X; allowed Y; do Z.* Received settings are always shown;
values from DICOM headers only for the keywords of `SHOWN_KEYWORDS`, which never identify a patient.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import ModuleType

WITHHELD = "<withheld>"
NOTHING_FOUND = 9
_RIGHTS = frozenset({errno.EACCES, errno.EPERM})
_STORAGE = _RIGHTS | {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
}

SHOWN_KEYWORDS = frozenset(
    """
    AcquisitionMatrix AcquisitionNumber BitsAllocated BitsStored BodyPartExamined Columns ConvolutionKernel
    EchoNumbers EchoTime FlipAngle FrameOfReferenceUID GantryDetectorTilt HighBit ImageOrientationPatient
    ImagePositionPatient ImageType InstanceNumber KVP Laterality MagneticFieldStrength Manufacturer
    ManufacturerModelName Modality NumberOfFrames NumberOfTemporalPositions PatientPosition
    PhotometricInterpretation PixelRepresentation PixelSpacing PlanarConfiguration RepetitionTime
    RescaleIntercept RescaleSlope RescaleType Rows SamplesPerPixel ScanningSequence SequenceVariant
    SeriesInstanceUID SeriesNumber SliceLocation SliceThickness SOPClassUID SOPInstanceUID
    SpacingBetweenSlices StudyInstanceUID TemporalPositionIdentifier TransferSyntaxUID TriggerTime
    Units ViewPosition WindowCenter WindowWidth
    """.split()
)


class ClaimedMedError(Exception):
    """Base of all errors raised on purpose; never raised itself.

    Args:
        where: The component, file or room that speaks (`segment-lungs`).
        what: What is wrong, as a sentence without a full stop.
        got: The received setting or number; left out when it is None.
        allowed: What would have been right.
        do: What the user can do now.
    """

    exit_code = 1

    def __init__(self, where: str, what: str, *, got: object = None, allowed: str = "", do: str = "") -> None:
        self.where, self.what, self.got, self.allowed, self.do = where, what, got, allowed, do
        super().__init__(self._text())

    def _text(self) -> str:
        parts = [f"{self.where}: {self.what}"]
        if self.got is not None:
            parts.append(f"got {self.got}")
        if self.allowed:
            parts.append(f"allowed {self.allowed}")
        if self.do:
            parts.append(self.do)
        return "; ".join(parts).rstrip(".") + "."

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.__dict__.copy())


def _rebuild(cls: type[ClaimedMedError], state: dict[str, Any]) -> ClaimedMedError:
    error = cls(state["where"], state["what"], got=state["got"], allowed=state["allowed"], do=state["do"])
    error.__dict__.update(state)
    return error


class ContractError(ClaimedMedError):
    """A port, setting or declaration that the contract does not allow."""

    exit_code = 2


class InputError(ClaimedMedError):
    """Data that cannot be processed as it is.

    Args:
        where: As for every error.
        what: As for every error.
        got: As for every error.
        allowed: As for every error.
        do: As for every error.
        findings: The named findings (`claimed_med.dicom.finding.Finding`) that led to the refusal.
    """

    exit_code = 3

    def __init__(
        self,
        where: str,
        what: str,
        *,
        got: object = None,
        allowed: str = "",
        do: str = "",
        findings: Iterable[Any] = (),
    ) -> None:
        self.findings = tuple(findings)
        super().__init__(where, what, got=got, allowed=allowed, do=do)


class MissingDependencyError(ClaimedMedError):
    """An optional package or program is not installed."""

    exit_code = 4


class ModelError(ClaimedMedError):
    """Weights or network do not fit, or gave nonsense."""

    exit_code = 5


class RefusedError(ClaimedMedError):
    """A Decision is not a blessing of this very payload."""

    exit_code = 6


class OutputError(ClaimedMedError):
    """A result is not valid, or could not be written."""

    exit_code = 7


class EngineError(ClaimedMedError):
    """The engine could not run the pipeline, or a task of it failed."""

    exit_code = 8


def header_value(keyword: str, value: object) -> str:
    """Return a header value for an error text, or `<withheld>` when the keyword may identify a patient."""
    return str(value) if keyword in SHOWN_KEYWORDS else WITHHELD


def storage_error(error: BaseException, where: str) -> InputError | OutputError | None:
    """What the file system refused, as an error of ours: without the path, which may hold a patient's name.

    Args:
        error: As the file system raised it.
        where: Who speaks.

    Returns:
        An InputError where a file is there and may not be read, an OutputError where nothing can be written; None for
        any other error.
    """
    if not isinstance(error, OSError) or error.errno not in _STORAGE:
        return None
    got = os.strerror(error.errno)
    name = error.filename if isinstance(error.filename, str | os.PathLike) else ""
    if error.errno == errno.EISDIR and error.filename2 is None:
        return InputError(where, "a folder was named where a file is needed", do="name a file")
    if error.errno in _RIGHTS and os.path.exists(name) and not os.access(name, os.R_OK):  # noqa: PTH110 - any form
        return InputError(where, "a file or folder may not be read", got=got, do="see to its permissions")
    return OutputError(where, "a file or folder cannot be written", got=got, do="see to place, permissions and disk")


def name_of(path: Path) -> str:
    """Name a source file without its name: the first 12 hex of the sha256 of its content.

    File names and folders in hospitals hold patient names; digests do not.
    """
    try:
        with path.open("rb") as stream:
            return f"file {hashlib.file_digest(stream, 'sha256').hexdigest()[:12]}"
    except OSError:
        return "file (unreadable)"


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, or say which extra of claimed_med brings it.

    Raises:
        MissingDependencyError: The module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and not module.startswith(error.name.split(".")[0]):
            raise
        raise MissingDependencyError(
            module.split(".", maxsplit=1)[0], "is not installed", do=f"run: pip install 'claimed_med[{extra}]'"
        ) from None
