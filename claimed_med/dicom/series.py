"""Read DICOM: what a folder holds, and each volume with its exact place. Geometry is never guessed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydicom import Dataset

from claimed_med.dicom import repair as repairing
from claimed_med.dicom.finding import Finding
from claimed_med.dicom.geometry import Geometry, judge
from claimed_med.dicom.grouping import Frame, frames_of, group_frames
from claimed_med.dicom.header import Instance, NotReadable, instance_of, open_instance, quiet, text, whole
from claimed_med.dicom.pixels import read_stored, real_values, truncated
from claimed_med.errors import ContractError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import highdicom as hd
    import numpy as np


# Objects with pixels that are derived from others and are no images of a patient by themselves.
NO_IMAGE = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
        "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation
        "1.2.840.10008.5.1.4.1.1.30",  # Parametric Map
        "1.2.840.10008.5.1.4.1.1.481.2",  # RT Dose
    }
)
_FATAL_BUT = {"drop_duplicates": {"DuplicatePosition"}, "resample_uneven": {"UnevenSpacing"}, "untilt": {"GantryTilt"}}


@dataclass(eq=False)
class Series:
    """One volume: sorted headers, and pixels on demand.

    Attributes:
        slices: Sorted along the normal.
        geometry: Affine and findings.
        repairs: What opt-in repairs did, for the lineage.
    """

    slices: list[Frame]
    geometry: Geometry
    frames: Mapping[str, tuple[int, ...]] | None = None
    repairs: list[str] = field(default_factory=list)
    wanted: tuple[str, ...] = ()
    extra: tuple[Finding, ...] = ()
    unit_key: str = ""

    @cached_property
    def instances(self) -> tuple[Instance, ...]:
        """The objects, each once, in slice order."""
        return tuple({id(frame.instance): frame.instance for frame in self.slices}.values())

    @property
    def headers(self) -> tuple[Dataset, ...]:
        """The headers without pixel data, sorted along the normal; one a multi-frame object."""
        return tuple(instance.dataset for instance in self.instances)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files, sorted along the normal."""
        return tuple(instance.path for instance in self.instances if instance.path is not None)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was noticed; a fatal one refuses `volume()`."""
        return (*self.extra, *self.geometry.findings)

    @property
    def modality(self) -> str:
        """Modality."""
        return text(self.headers[0], "Modality")

    @property
    def key(self) -> str:
        """The unit key."""
        return self.unit_key or _key([instance.sop_uid for instance in self.instances], self.frames)

    @property
    def affine(self) -> np.ndarray | None:
        """Index (slice, row, column) -> LPS [mm], sheared when the gantry was tilted; None when unknown."""
        return self.geometry.affine

    @cached_property
    def _volume(self) -> hd.Volume:
        return self._read()

    def volume(self) -> hd.Volume:
        """Read the pixels.

        Returns:
            Axes slice, row, column; affine index -> LPS [mm]; real units (HU for CT): int16 when every value is
            a whole number that fits, else float32. The array is shared between calls: copy it before changing it.

        Raises:
            InputError: A finding refuses the volume, or pixel data are damaged; findings are attached.
        """
        with quiet():
            return self._volume

    def _read(self) -> hd.Volume:
        repaired = {name for wanted in self.wanted for name in _FATAL_BUT[wanted]}
        fatal = [finding for finding in self.findings if finding.fatal and finding.name not in repaired]
        if fatal or self.affine is None:
            raise InputError(
                "series",
                "this is no volume: " + "; ".join(finding.text for finding in fatal),
                do=_advice(fatal),
                findings=self.findings,
            )
        header = self.headers[0]
        array = real_values(read_stored(self.slices), self.slices, lookup="ModalityLUTSequence" in header)
        affine = self.affine
        names = {finding.name for finding in self.findings}
        if "UnevenSpacing" in names:
            array, affine, done = repairing.resample_even(array, self.geometry, affine)
            self.repairs += done
        if "GantryTilt" in names:
            array, affine, done = repairing.untilt(array, affine)
            self.repairs += done
        return repairing.as_volume(array, affine, text(header, "FrameOfReferenceUID"))


def read_series(
    source: Sequence[Path] | Sequence[Dataset],
    frames: Mapping[str, tuple[int, ...]] | None = None,
    repair: Sequence[str] = (),
) -> Series:
    """Read the headers of one volume and sort them.

    Args:
        source: Its files, or its objects in memory.
        frames: SOPInstanceUID -> frame numbers from 1, when only some frames of an object belong to it.
        repair: Opt-in repairs: `drop_duplicates`, `resample_uneven`, `untilt`.

    Raises:
        InputError: A file cannot be read, or the files hold no image or several volumes.
        ContractError: An unknown repair.
    """
    unknown = sorted(set(repair) - set(repairing.REPAIRS))
    if unknown:
        raise ContractError(
            "read_series", "unknown repair", got=", ".join(unknown), allowed=", ".join(repairing.REPAIRS)
        )
    with quiet():
        found = volumes_of(_open(source), frames)
    if len(found) != 1:
        told = "; ".join(f"{one.modality} {len(one.slices)} slices" for one in found[:10])
        raise InputError(
            "series", "the files must hold one volume", got=f"{len(found)} ({told})" if told else "no image"
        )
    series = found[0]
    series.wanted = tuple(repair)
    if "drop_duplicates" in repair:
        series.slices, series.geometry, done = repairing.drop_duplicates(series.slices, series.geometry)
        series.repairs += done
        series.wanted = tuple(name for name in repair if name != "drop_duplicates")
    return series


def require_modality(where: str, series: Series, *modalities: str, min_slices: int = 1) -> None:
    """Refuse a series of another modality, or with too few slices, before any pixel is read.

    Raises:
        InputError: It is not what the algorithm was made for.
    """
    if series.modality not in modalities:
        raise InputError(
            where,
            "the modality does not fit",
            got=series.modality or "none",
            allowed=" or ".join(modalities),
            do="choose another series",
        )
    if len(series.slices) < min_slices:
        raise InputError(
            where,
            "the series has too few slices",
            got=len(series.slices),
            allowed=f"at least {min_slices}",
            do="choose another series",
        )


def require_body_part(where: str, series: Series, *names: str) -> None:
    """Refuse a series whose header names another body part; one that names none is let through.

    Raises:
        InputError: BodyPartExamined is given and is none of `names`.
    """
    given = text(series.headers[0], "BodyPartExamined").upper()
    if given and not any(name in given for name in names):
        raise InputError(
            where, "the body part does not fit", got=given, allowed=" or ".join(names), do="choose another series"
        )


def _open(source: Iterable[Any]) -> list[Instance]:
    instances = []
    for one in source:
        if isinstance(one, Dataset):
            instances.append(instance_of(one))
            continue
        try:
            instances.append(open_instance(Path(one)))
        except NotReadable as damage:
            raise InputError("series", damage.finding.text, findings=[damage.finding]) from None
    return [instance for instance in instances if is_image(instance)]


def is_image(instance: Instance) -> bool:
    """Whether an object has an image of a patient."""
    header = instance.dataset
    if text(header, "SOPClassUID") in NO_IMAGE:
        return False
    return whole(header, "Rows") > 0 and whole(header, "Columns") > 0


def volumes_of(images: Iterable[Instance], frames: Mapping[str, tuple[int, ...]] | None = None) -> list[Series]:
    """Group images into volumes and judge each."""
    chosen = [
        frame
        for instance in images
        for frame in frames_of(instance)
        if frames is None or instance.sop_uid not in frames or frame.index + 1 in frames[instance.sop_uid]
    ]
    groups = group_frames(chosen)
    siblings: dict[str, int] = {}
    for group in groups:
        siblings[_sibling_key(group)] = siblings.get(_sibling_key(group), 0) + 1
    return [_series(group, siblings[_sibling_key(group)]) for group in groups]


def _sibling_key(group: list[Frame]) -> str:
    header = group[0].instance.dataset
    place = group[0].position or ()
    same = (text(header, "SeriesInstanceUID"), whole(header, "Rows"), len(group), tuple(round(v, 2) for v in place))
    return repr(same)


def _series(group: list[Frame], n_siblings: int) -> Series:
    extra: list[Finding] = []
    header = group[0].instance.dataset
    samples = whole(header, "SamplesPerPixel", 1)
    if samples != 1:
        told = f"a colour image ({samples} values a pixel) is a picture, not part of a volume"
        extra.append(Finding("ColourImage", told, {"samples": samples}, fatal=True))
    if not text(header, "SOPClassUID"):
        extra.append(
            Finding("BlankSOPClass", f"SOPClassUID is blank; read as {text(header, 'Modality') or 'an image'}")
        )
    broken = {id(frame.instance) for frame in group if truncated(frame.instance)}
    if broken:
        told = f"{len(broken)} file{'s end' if len(broken) > 1 else ' ends'} before the pixel data do"
        extra.append(Finding("Truncated", told, {"n_files": len(broken)}, fatal=True))
    if n_siblings > 1:
        told = f"one of {n_siblings} volumes of its series at the same place (phases, echoes or weights)"
        extra.append(Finding("FourDimensional", told, {"n_volumes": n_siblings}))
    return Series(group, judge(group), _partial_frames(group), extra=tuple(extra))


def _partial_frames(group: list[Frame]) -> dict[str, tuple[int, ...]] | None:
    taken: dict[int, list[int]] = {}
    instances = {id(frame.instance): frame.instance for frame in group}
    for frame in group:
        taken.setdefault(id(frame.instance), []).append(frame.index + 1)
    partial = {
        instances[which].sop_uid: tuple(sorted(numbers))
        for which, numbers in taken.items()
        if len(numbers) < instances[which].n_frames
    }
    return partial or None


def _key(uids: Sequence[str], frames: Mapping[str, tuple[int, ...]] | None) -> str:
    parts = [f"{uid}#{','.join(map(str, frames[uid]))}" if frames and uid in frames else uid for uid in uids]
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:16]


def _advice(fatal: Sequence[Finding]) -> str:
    names = {finding.name for finding in fatal}
    fitting = [repair for repair, mended in _FATAL_BUT.items() if names & mended]
    if fitting:
        return f"check the series, or ask for the repair {' and '.join(fitting)}"
    if names & {"MissingSlice", "Truncated"}:
        return "fetch the series again from its archive"
    return "choose another series"
