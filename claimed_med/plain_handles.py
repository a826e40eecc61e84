"""Handles on what is no DICOM: volumes, pictures, tables, reports, models, decisions. Standard library at the top."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claimed_med.errors import InputError
from claimed_med.handle import Handle
from claimed_med.payload import LINEAGE, files_below

if TYPE_CHECKING:
    from collections.abc import Mapping

BLESSED, REFUSED = "blessed", "refused"


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


class Asset(Handle):
    """Anything that a port holds, as files; for components that store and fetch without looking inside."""

    per_unit = False

    def payload(self) -> dict[str, Path | bytes]:
        """Every file but the record, units and their table included.

        Raises:
            InputError: The path does not exist.
        """
        if self.path is None or self.path.is_file():
            return super().payload()
        return {name: path for name, path in files_below(self.path).items() if name != LINEAGE}


class Servable(Handle):
    """A folder that `claimed-med serve` serves. In memory: relative name -> bytes."""

    per_unit = False

    def encode(self, content: Any) -> Mapping[str, bytes]:
        """The payload of an object in memory."""
        return dict(content)

    def load(self) -> dict[str, Any]:
        """What it says of itself (`servable.json`), as parsed JSON.

        Raises:
            InputError: The folder is no servable one.
        """
        content = self.payload().get("servable.json")
        try:
            text = content.decode() if isinstance(content, bytes) else (content or Path()).read_text(encoding="utf-8")
            return dict(json.loads(text))
        except (OSError, ValueError, TypeError):
            raise InputError(self.kind, "the folder is no servable one", do="make one with package-model") from None


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
