"""Handles: what flows between components. Inert until `load()`; standard library only at the top.

A handle stands for a folder, a set of files, or an object in memory:

    DicomSeries("ct/")            nothing is read yet
    DicomSeries("ct/").load()     reads headers; `.volume()` then reads pixels
    segment_lungs(series)         returns a handle whose object is in memory
    handle.save("out/lungs")      writes payload and lineage.json, all or nothing
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimed_med.errors import InputError
from claimed_med.handle import Handle
from claimed_med.payload import LINEAGE, UNITS, VOLUME, files_below
from claimed_med.plain_handles import (
    BLESSED,
    REFUSED,
    Asset,
    Decision,
    ModelBundle,
    Nifti,
    Picture,
    Report,
    Servable,
    Table,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "BLESSED",
    "KINDS",
    "REFUSED",
    "Asset",
    "Decision",
    "DicomCapture",
    "DicomCollection",
    "DicomMap",
    "DicomReport",
    "DicomSegmentation",
    "DicomSeries",
    "DicomStudy",
    "ModelBundle",
    "Nifti",
    "Picture",
    "Report",
    "Servable",
    "Table",
]


class _Dicom(Handle):
    """A handle on DICOM objects."""

    def encode(self, content: Any) -> Mapping[str, bytes]:
        """The payload of an object in memory."""
        from claimed_med.dicom.uid import to_bytes

        if isinstance(content, list | tuple):
            return {f"{dataset.SOPInstanceUID}.dcm": to_bytes(dataset) for dataset in content}
        return {self.file_name: to_bytes(content)}

    def identifiers(self) -> dict[str, dict[str, str]]:
        """Name in the payload -> {"sop_uid", "series_uid"} of every object in memory."""
        listed = isinstance(self.object, list | tuple)
        return {
            f"{one.SOPInstanceUID}.dcm" if listed or not self.file_name else self.file_name: {
                "sop_uid": str(one.SOPInstanceUID),
                "series_uid": str(one.SeriesInstanceUID),
            }
            for one in self.datasets()
        }

    def datasets(self) -> list[Any]:
        """The pydicom datasets of an object in memory; empty for a handle on disk."""
        if self.object is None:
            return []
        return list(self.object) if isinstance(self.object, list | tuple) else [self.object]


class DicomSeries(_Dicom):
    """One volume: the images of a series that belong together. In memory: a list of datasets."""

    def load(self, repair: Sequence[str] = ()) -> Any:
        """Read and sort the headers; returns `claimed_med.dicom.series.Series`.

        Args:
            repair: Opt-in repairs of the geometry: `drop_duplicates`, `resample_uneven`, `untilt`; what they did is
                recorded in the lineage.

        Raises:
            InputError: The files hold no image, or more than one volume.
        """
        from claimed_med.dicom.series import Series, read_series

        if isinstance(self.object, Series):
            return self.object
        loaded = read_series(self.object, repair=repair) if self.object is not None else self._load_files(repair)
        self.repairs = loaded.repairs
        return loaded

    def _load_files(self, repair: Sequence[str]) -> Any:
        from claimed_med.dicom.scan import scan
        from claimed_med.dicom.series import read_series

        if self.files is not None:
            return read_series(self.paths(), self.frames, repair)
        sidecar = self.root() / VOLUME
        if sidecar.is_file():
            frames = json.loads(sidecar.read_text(encoding="utf-8"))["frames"]
            return read_series(self.paths(), {uid: tuple(numbers) for uid, numbers in frames.items()}, repair)
        found = scan(self.root())
        if len(found.volumes) != 1:
            shown = "; ".join(f"{one.key}: {one.modality}, {len(one.files)} files" for one in found.volumes[:20])
            raise InputError(
                self.kind,
                "the folder must hold one volume",
                got=f"{len(found.volumes)} ({shown})" if shown else "none",
                do="use DicomCollection(path).series() and choose one",
                findings=[one.finding for one in found.skipped],
            )
        entry = found.volumes[0]
        return read_series(entry.files, entry.frames, repair) if repair else entry.series

    def _repr_png_(self) -> bytes:
        from claimed_med.imaging.render import mosaic, png

        volume = self.load().volume()
        return png(mosaic(volume.array, spacing_mm=volume.spacing))


class DicomCollection(_Dicom):
    """Any mixture of studies. In memory: a list of `DicomSeries`."""

    def series(self) -> list[DicomSeries]:
        """One handle per volume, each with `.findings`; what is refused is listed too.

        Raises:
            InputError: The path does not exist.
        """
        if self.object is not None:
            return list(self.object)
        from claimed_med.dicom.scan import entry_of, scan

        if self.files is not None:
            return [_SeriesFound(entry) for entry in scan(self.paths()).volumes]
        if self.path is None or not self.path.exists():
            raise InputError(self.kind, "the path does not exist", do="check the path that was given")
        units = self.path / UNITS
        if not units.is_file():
            return [_SeriesFound(entry) for entry in scan(self.path).volumes]
        listed = json.loads(units.read_text(encoding="utf-8"))["units"]
        done = [str(unit["key"]) for unit in listed if unit["status"] == "done"]
        return [_SeriesFound(entry_of(DicomSeries(self.path / key).load()), key) for key in done]

    def identifiers(self) -> dict[str, dict[str, str]]:
        """Name in the payload -> {"sop_uid", "series_uid"} of every object of the series in memory."""
        series = list(self.object or ())
        return {f"{one.key}/{name}": told for one in series for name, told in one.identifiers().items()}

    def load(self) -> list[DicomSeries]:
        """The same as `series()`."""
        return self.series()

    def payload(self) -> dict[str, Path | bytes]:
        """Every file; for a collection in memory each series has a folder named by its unit key."""
        if self.path is not None and self.path.is_dir():
            return {name: path for name, path in files_below(self.path).items() if name != LINEAGE}
        if self.object is None:
            return super().payload()
        entries = {f"{one.key}/{name}": content for one in self.object for name, content in one.payload().items()}
        fields = {"status": "done", "error": "", "text": "", "findings": []}
        listed = [{"key": key, **fields} for key in sorted(one.key for one in self.object)]
        entries[UNITS] = (json.dumps({"units": listed, "skipped": []}, indent=1, sort_keys=True) + "\n").encode()
        return entries

    def _repr_html_(self) -> str:
        from html import escape

        rows = "".join(
            f"<tr><td>{one.key}</td><td>{one.modality}</td><td>{len(one.paths())}</td>"
            f"<td>{escape('; '.join(finding.text for finding in one.findings))}</td></tr>"
            for one in self.series()
            if isinstance(one, _SeriesFound)
        )
        return f"<table><tr><th>key</th><th>modality</th><th>files</th><th>findings</th></tr>{rows}</table>"


class DicomStudy(DicomCollection):
    """All objects of one study."""


class _SeriesFound(DicomSeries):
    """A series as `DicomCollection.series()` found it."""

    def __init__(self, entry: Any, key: str = "") -> None:
        from claimed_med.units import named_files

        super().__init__(None)
        self.files, self.frames = named_files(entry.files, entry.sop_uids), entry.frames
        self.key = key or entry.key
        self.modality: str = entry.modality
        self.findings: tuple[Any, ...] = entry.findings

    @property
    def kind(self) -> str:
        return "DicomSeries"

    def __repr__(self) -> str:
        names = ", ".join(finding.name for finding in self.findings)
        return f"DicomSeries({self.key}, {self.modality}, {len(self.files or ())} files{', ' + names if names else ''})"


class DicomSegmentation(_Dicom):
    """One SEG object."""

    file_name = "segmentation.dcm"

    def load(self) -> Any:
        """The object as `highdicom.seg.Segmentation`."""
        if self.object is not None:
            return self.object
        from highdicom.seg import segread

        return segread(self.single_file())

    def _repr_png_(self) -> bytes:
        from claimed_med.dicom.seg import decode, merge
        from claimed_med.imaging.render import mosaic, png

        labels = merge(decode(self.load()))
        return png(mosaic(labels.array * 0.0, labels=labels.array, spacing_mm=labels.spacing))


class _DicomObject(_Dicom):
    def load(self) -> Any:
        """The object as `pydicom.Dataset`."""
        if self.object is not None:
            return self.object
        from pydicom import dcmread

        return dcmread(self.single_file())


class DicomReport(_DicomObject):
    """One structured report."""

    file_name = "report.dcm"

    def _repr_html_(self) -> str:
        from claimed_med.dicom.sr import to_html

        return to_html(self.load())


class DicomCapture(_DicomObject):
    """One secondary capture image."""

    file_name = "capture.dcm"

    def _repr_png_(self) -> bytes:
        from claimed_med.imaging.render import png

        pixels = self.load().pixel_array
        return png(pixels if pixels.ndim == 3 else pixels[len(pixels) // 2])


class DicomMap(_DicomObject):
    """One parametric map."""

    file_name = "map.dcm"


KINDS: dict[str, type[Handle]] = {
    cls.__name__: cls
    for cls in (
        DicomSeries,
        DicomStudy,
        DicomCollection,
        DicomSegmentation,
        DicomReport,
        DicomCapture,
        DicomMap,
        Nifti,
        Picture,
        Table,
        Report,
        ModelBundle,
        Servable,
        Decision,
        Asset,
    )
}
