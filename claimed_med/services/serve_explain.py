"""`:explain`: where the model looked, as numbers for a tensor, as parametric map and capture for an image."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from claimed_med.component import running
from claimed_med.dicom import cohort
from claimed_med.dicom.explaining import Found, explained_objects
from claimed_med.dicom.scan import VolumeEntry
from claimed_med.dicom.uid import stamp, to_bytes
from claimed_med.errors import ContractError
from claimed_med.handles import DicomSeries
from claimed_med.lineage import digest
from claimed_med.services import serve_job
from claimed_med.services.serve_error import WHERE
from claimed_med.services.serve_kept import Kept
from claimed_med.services.serve_lane import Task
from claimed_med.services.serve_model import Served
from claimed_med.trust.attribution import Question, explain
from claimed_med.trust.explanation import Explained, check_methods
from claimed_med.trust.overlay import overlay
from claimed_med.units import named_files

Floats = npt.NDArray[np.float32]
N_REGIONS, N_SAMPLES = 40, 200


def method_for(served: Served, asked: str) -> str:
    """The method: what was asked for, else Grad-CAM, or the ablation of regions where there are no gradients.

    Raises:
        ContractError: The method is not known, or the model has another task.
    """
    if served.bundle.task != "classification":
        raise ContractError(WHERE, "only classifications are explained", got=served.bundle.task)
    method = asked or ("region_ablation" if served.bundle.onnx else "grad_cam")
    check_methods([method])
    return method


def explain_image(served: Served, image: Floats, method: str) -> Explained:
    """Explain the positive class of one prepared image, on the lane.

    Args:
        served: The model.
        image: Shape (channel, *spatial).
        method: From `method_for`.
    """
    bundle = served.bundle
    target = bundle.classes.index(bundle.positive)

    def run(_: Any) -> list[Explained]:
        network = None if bundle.onnx else bundle._here  # noqa: SLF001 - the one that serves; nothing is trained
        score = float(bundle.probabilities(image[None])[0, target])
        question = Question(bundle.quick_probabilities, image, target, network, N_REGIONS, N_SAMPLES)
        return [Explained("", image, target, score, {method: np.asarray(explain(method, question), np.float32)})]

    found: Explained = bundle.lane.call(Task(run, None))
    return found


def explain_series(
    served: Served, entry: VolumeEntry, method: str, kept: Kept
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Explain one image or volume, and keep the picture beside the case.

    Returns:
        What is told of it, and SOPInstanceUID -> bytes of a parametric map and a capture.
    """
    series = DicomSeries.from_files(named_files(entry.files, entry.sop_uids), entry.frames)
    contract = served.component.contract
    identity = digest({"explain": method, "model": served.digest, "unit": entry.key, "component": contract.version})
    with serve_job.stage("explain"), running(contract, identity):
        image = served.bundle.prepare(*cohort.pixels(series))
        made = explain_image(served, image, method)
        made.key = entry.key
        maps, captures = explained_objects(Found([made], {entry.key: series}, {}, "", {}))
        datasets = [one for group in (maps, captures) for held in group.object for one in held.datasets()]
        for number, one in enumerate(datasets):
            stamp([one], seed=f"{identity}/{number}")
    objects = {str(one.SOPInstanceUID): to_bytes(one) for one in datasets}
    told = {"key": entry.key, "method": method, "score": made.score, "positive": served.bundle.positive}
    told |= {"objects": sorted(objects)}
    job = serve_job.current.get()
    if job is not None:
        job.told |= {**served.about, "method": method}
        job.told["explained"] = sorted({*job.told.get("explained", []), entry.key})
    kept.explanation(served, made, overlay(image, made.maps[method]), told)
    return told, objects
