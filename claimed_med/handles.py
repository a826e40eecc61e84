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

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


BLESSED, REFUSED = "blessed", "refused"


class _Dicom(Handle):
    """A handle on DICOM objects."""

    def encode(self, content: Any) -> Mapping[str, bytes]:
        """The payload of an object in memory."""
        from claimed_med.dicom.uid import to_bytes

        if isinstance(content, list | tuple):
            return {f"{dataset.SOPInstanceUID}.dcm": to_bytes(dataset) for dataset in content}
        return {self.file_name: to_bytes(content)}

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


class Nifti(Handle):
    """One NIfTI volume (`volume.nii.gz`) and what the header cannot hold (`volume.json`). In memory: a Volume."""

    file_name = "volume.nii.gz"

    def encode(self, content: Any) -> Mapping[str, bytes]:
        """The payload of an object in memory."""
        from tempfile import TemporaryDirectory

        from claimed_med.dicom.nifti import write

        with TemporaryDirectory() as folder:
            return {self.file_name: write(content, Path(folder) / self.file_name).read_bytes()}

    def load(self) -> Any:
        """The volume as `highdicom.Volume`: axes slice, row, column; affine index -> LPS [mm]."""
        if self.object is not None:
            return self.object
        from claimed_med.dicom.nifti import read
        from claimed_med.dicom.repair import as_volume

        return as_volume(*read(self.single_file(".nii", ".nii.gz")), "")


class Picture(Handle):
    """One PNG picture. In memory: its bytes."""

    file_name = "picture.png"

    def encode(self, content: Any) -> Mapping[str, bytes]:
        """The payload of an object in memory."""
        return {self.file_name: content}

    def load(self) -> bytes:
        """The bytes of the PNG."""
        return bytes(self.object) if self.object is not None else self.single_file(".png").read_bytes()

    def _repr_png_(self) -> bytes:
        return self.load()


class Table(Handle):
    """One table. In memory: a pandas DataFrame; on disk Parquet (CSV is read too)."""

    file_name = "table.parquet"

    def encode(self, content: Any) -> Mapping[str, bytes]:
        """The payload of an object in memory."""
        return {self.file_name: content.reset_index(drop=True).to_parquet(index=False)}

    def payload(self) -> dict[str, Path | bytes]:
        """Every file; a single file keeps its own name, since it says what form it has."""
        if self.path is not None and self.path.is_file():
            return {f"table{self.path.suffix}": self.path}
        return super().payload()

    def load(self) -> Any:
        """The table as `pandas.DataFrame`; the tables of a folder of units are joined, one below the other.

        Raises:
            InputError: There is no table, or it cannot be read.
        """
        if self.object is not None:
            return self.object
        import pandas as pd

        done = self.done_units()
        if done is None or self.path is None or len(done) < 2:
            return self._read(self.single_file(".parquet", ".csv"))
        return pd.concat([type(self)(self.path / key).load() for key in done], ignore_index=True)

    def _read(self, path: Path) -> Any:
        import pandas as pd

        try:
            return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
        except (ValueError, OSError):
            raise InputError(self.kind, "the table cannot be read", allowed="Parquet, or CSV in UTF-8") from None

    def _repr_html_(self) -> str:
        return str(self.load().to_html(index=False, max_rows=20))


class Report(Handle):
    """Machine-readable results (`report.json`) with an optional page and pictures.

    Args:
        source: A path, or the results as a JSON-ready mapping.
        html: A page that needs no other file, or ''.
        pictures: File name -> bytes.
    """

    file_name = "report.json"

    def __init__(self, source: Any, *, html: str = "", pictures: Mapping[str, bytes] | None = None) -> None:
        super().__init__(source)
        self.html = html
        self.pictures = dict(pictures or {})

    def encode(self, content: Any) -> Mapping[str, bytes]:
        """The payload of an object in memory."""
        text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
        page = {"report.html": self.html.encode()} if self.html else {}
        return {self.file_name: text.encode(), **page, **self.pictures}

    def load(self) -> Any:
        """The results as parsed JSON."""
        return self.object if self.object is not None else json.loads(self.single_file("report.json").read_text())

    def page(self) -> str:
        """The page that belongs to the results, or ''."""
        if self.in_memory or self.path is None:
            return self.html
        file = self.root() / "report.html"
        return file.read_text(encoding="utf-8") if file.is_file() else ""

    def each(self) -> dict[str, Any]:
        """Unit key -> results, for a folder of units; '' -> the results, for a single report."""
        done = self.done_units()
        if done is None or self.path is None:
            return {"": self.load()}
        return {key: type(self)(self.path / key).load() for key in done}

    def _repr_html_(self) -> str:
        from html import escape

        return self.html or f"<pre>{escape(json.dumps(self.load(), indent=1))}</pre>"


class ModelBundle(Handle):
    """One trained model with all that is needed to use it. In memory: `claimed_med.models.bundle.Bundle`."""

    per_unit = False

    def encode(self, content: Any) -> Mapping[str, bytes]:
        """The payload of an object in memory."""
        return dict(content.files())

    def load(self) -> Any:
        """The model as `claimed_med.models.bundle.Bundle`.

        Raises:
            InputError: The folder holds no bundle.
            ModelError: Weights and network do not fit.
        """
        if self.object is not None:
            return self.object
        from claimed_med.models.bundle import read

        return read(self.root())


class Decision(Handle):
    """A blessing or refusal of one payload, with its reasons. In memory: a JSON-ready mapping.

    A component that takes one runs only when it blesses the payload digest of another of its input ports.
    """

    file_name = "decision.json"
    per_unit = False

    def encode(self, content: Any) -> Mapping[str, bytes]:
        """The payload of an object in memory."""
        return {self.file_name: (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()}

    def load(self) -> dict[str, Any]:
        """The decision as parsed JSON.

        Raises:
            InputError: The file is no decision.
        """
        if self.object is not None:
            return dict(self.object)
        try:
            return dict(json.loads(self.single_file(".json").read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            raise InputError(self.kind, "the file is no decision", do="make one with bless-model") from None

    @property
    def is_blessed(self) -> bool:
        """Whether the verdict is a blessing (of whatever payload)."""
        return self.load().get("verdict") == BLESSED


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
        Decision,
    )
}
