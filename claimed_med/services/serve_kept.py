"""What a server keeps of its answers to DICOM where it is asked to: lineage records, and pictures of cases.

    LINEAGE/ab/<identity>/lineage.json            `claimed-med lineage index` reads them: what lies in an archive leads
                                                  back to model and source, also years later
    PICTURES/<model>/<unit key>/overview.png      `claimed-med monitor serve --pictures` shows them
    PICTURES/<model>/<unit key>/explanation-<method>.png, and .json with what was asked for, and when

A record that cannot be written is an answer that is not given. A picture that cannot be drawn is counted, and no more.
Pictures show pixels of patients: they lie where the options say, for this user alone, and nowhere else.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from claimed_med.dicom import cohort
from claimed_med.imaging.render import mosaic, png, window_for
from claimed_med.lineage import now
from claimed_med.payload import LINEAGE
from claimed_med.services import serve_metrics

if TYPE_CHECKING:
    import numpy.typing as npt

    from claimed_med.handles import DicomSeries
    from claimed_med.services.serve_model import Served
    from claimed_med.trust.explanation import Explained

OVERVIEW, EXPLANATION = "overview", "explanation"
SHORT = 12  # letters of a model digest in the name of a folder
_TILES, _LARGEST = 12, 768


@dataclass(frozen=True)
class Kept:
    """Where what is kept goes.

    Attributes:
        lineage: Folder of records; None to keep none.
        pictures: Folder of pictures; None to draw none.
    """

    lineage: Path | None = None
    pictures: Path | None = None

    def records(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Keep the records of an answer; the same result has the same identity, and is kept once.

        Raises:
            OSError: The disk takes nothing.
        """
        for record in records if self.lineage is not None else ():
            identity = str(record["units"][0]["identity"])
            place = _made(Path(str(self.lineage)), identity[:2], identity) / LINEAGE
            if not place.exists():
                _write(place, (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())

    def overview(self, served: Served, series: DicomSeries, made: Any) -> None:
        """Draw what a model answered for: the image, or the volume with what was segmented."""
        if self.pictures is not None:
            self._drawn(served, series.key, OVERVIEW, lambda: png(_overview(served, series, made)))

    def explanation(
        self, served: Served, one: Explained, picture: npt.NDArray[np.uint8], told: Mapping[str, Any]
    ) -> None:
        """Draw one explanation, and note beside it what was asked for.

        Args:
            served: The model.
            one: The explanation, with the unit key of its image.
            picture: Image beside image with map.
            told: Method, score, objects, name of the request.
        """
        if self.pictures is not None:
            name = f"{EXPLANATION}-{told['method']}"
            self._drawn(served, one.key, name, lambda: png(picture))
            note = json.dumps({**told, "at": now(), "model_digest": served.digest}, sort_keys=True)
            self._drawn(served, one.key, name, note.encode, ".json")

    def _drawn(self, served: Served, key: str, name: str, draw: Callable[[], bytes], ending: str = ".png") -> None:
        try:
            folder = _made(Path(str(self.pictures)), served.digest[:SHORT], key)
            _write(folder / f"{name}{ending}", draw())
        except Exception:  # noqa: BLE001 - a picture for people is no reason to withhold an answer
            serve_metrics.LOST_PICTURES.inc()


def _overview(served: Served, series: DicomSeries, made: Any) -> npt.NDArray[np.uint8]:
    if served.bundle.task == "classification":
        pixels, spacing = cohort.pixels(series)
        return _grey(pixels) if pixels.ndim == 2 else mosaic(pixels, spacing_mm=spacing, n_tiles=_TILES)
    from claimed_med.dicom import seg

    image = series.load()
    volume, segments = image.volume(), seg.decode(made.load(), image)
    window = window_for(image.modality, [one.label for one in segments])
    labels = seg.merge(segments).array
    return mosaic(volume.array, labels=labels, spacing_mm=volume.spacing, n_tiles=_TILES, window=window)


def _grey(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    low, high = np.percentile(plane, [1, 99])
    step = max(1, -(-max(plane.shape) // _LARGEST))
    scaled = np.clip((plane[::step, ::step] - low) / max(float(high - low), 1e-6), 0, 1)
    return np.asarray(scaled * 255, dtype=np.uint8)


def _write(path: Path, content: bytes) -> None:
    """All or nothing; two requests may write the same."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _made(root: Path, *names: str) -> Path:
    root.mkdir(parents=True, exist_ok=True, mode=0o700)  # what lies in it is private by that
    folder = root.joinpath(*names)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
