"""De-identify all files of one patient: in parallel, each on its own; a file that cannot be cleaned is refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimed_med.dicom import deid_gather, deid_profile
from claimed_med.dicom.deid import Deidentifier
from claimed_med.dicom.deid_audit import Outcome
from claimed_med.dicom.pseudonyms import keys_from_environment
from claimed_med.errors import ClaimedMedError, InputError
from claimed_med.workers import WorkerDied, map_tasks, n_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from claimed_med.dicom.deid_identifiers import Identifiers

FILES_A_WORKER = 32


@dataclass(frozen=True)
class _Work:
    """What a worker process needs; called with the files of a part."""

    profile: str
    identifiers: Identifiers
    patient_key: str
    out: Path

    def __call__(self, part: Sequence[Path]) -> list[Outcome]:
        from claimed_med.dicom import burned_in

        profile = deid_profile.load(self.profile)
        keys = keys_from_environment(profile.max_shift_days)
        deidentifier = Deidentifier(profile, keys, self.identifiers, self.patient_key)
        outcomes = []
        for path in part:
            data = path.read_bytes()
            outcome = Outcome(keys.name("file", data))
            try:
                made = deidentifier.clean(data)
                looked = burned_in.clean_file(made.data, profile)
                outcome.looked, outcome.n_regions = looked.reason, looked.n_regions
                outcome.name, outcome.counts = f"{made.sop_uid}.dcm", made.counts
                self._write(outcome, looked.data)
            except ClaimedMedError as error:
                outcome.name, outcome.error, outcome.text = "", type(error).__name__, str(error)
            except Exception as error:  # noqa: BLE001 - damaged files fail in every way; each is refused alone
                outcome.name, outcome.error = "", type(error).__name__
                outcome.text = f"de-identification: an unexpected {outcome.error}; the message is withheld."
            outcomes.append(outcome)
        return outcomes

    def _write(self, outcome: Outcome, data: bytes) -> None:
        """Write a new file; the same object twice is written once, two objects of one identifier are not mixed."""
        target = self.out / outcome.name
        try:
            with target.open("xb") as stream:
                stream.write(data)
        except FileExistsError:
            if target.read_bytes() != data:
                text = "another object of this patient has the same SOPInstanceUID; give one of them another"
                raise InputError("de-identification", text) from None


def deidentify_files(files: Sequence[Path], profile: str, out: Path) -> list[Outcome]:
    """De-identify the files of one patient.

    Args:
        files: Of one patient: DICOM objects of any class.
        profile: Name or TOML text.
        out: An empty folder; gets one file `<new SOPInstanceUID>.dcm` an object.

    Returns:
        One outcome a file, in the order of `files`.

    Raises:
        InputError: The files belong to several patients.
    """
    parts = [files[first : first + FILES_A_WORKER] for first in range(0, len(files), FILES_A_WORKER)]
    n_workers = min(n_cores(), len(files) // FILES_A_WORKER)
    tried = _spread(_tried, parts, n_workers)
    # what could not be read in a worker is read again here, where it can say why
    looks = [one for part, found in zip(parts, tried, strict=True) for one in found or _looked(part)]
    patients = {one.patient_key for one in looks}
    if len(patients) != 1:
        raise InputError("de-identification", "the files must be of one patient", got=f"{len(patients)} patients")
    identifiers = deid_gather.gather(looks, deid_profile.load(profile))
    work = _Work(profile, identifiers, patients.pop(), out)
    return [outcome for part in _spread(work, parts, n_workers) for outcome in part]


def _spread(work: Callable[[Sequence[Path]], Any], parts: Sequence[Sequence[Path]], n_workers: int) -> list[Any]:
    """The result of every part, in their order; in worker processes where there are several."""
    if n_workers < 2:
        return [work(part) for part in parts]
    found = dict(map_tasks(work, parts, n_workers=n_workers, n_threads=1, fork=True))
    if any(isinstance(one, WorkerDied) for one in found.values()):
        raise InputError("de-identification", "a worker process died", do="run again, with fewer workers")
    return [found[index] for index in sorted(found)]


def _tried(part: Sequence[Path]) -> list[deid_gather.Look] | None:
    try:
        return _looked(part)
    except (ClaimedMedError, OSError):
        return None


def _looked(part: Sequence[Path]) -> list[deid_gather.Look]:
    return [deid_gather.look_at_file(one) for one in part]
