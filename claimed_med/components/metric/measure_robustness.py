"""Measure how a classifier stands corruptions and attacks."""

from __future__ import annotations

from typing import Annotated

from claimed_med.component import Interval, component
from claimed_med.handles import DicomCollection, ModelBundle, Report, Table


@component(
    version="1.0.0",
    image="torch",
    group="robustness",
    threads=2,
    tags=("corruption", "adversarial", "fgsm", "pgd", "art"),
    example={
        "images": "import-xrays:images",
        "cohort": "split-cohort:split",
        "bundle": "train-classifier:bundle",
        "subset": "",
        "n_images": 6,
        "n_bootstrap": 100,
        "corruptions": ["noise", "jpeg"],
        "attacks": ["fgsm", "square"],
    },
)
def measure_robustness(
    images: DicomCollection,
    cohort: Table,
    bundle: ModelBundle,
    *,
    subset: str = "test",
    corruptions: list[str] = ["noise", "blur", "rotation", "gain", "offset", "spacing", "crop", "jpeg"],  # noqa: B006 - never changed
    attacks: list[str] = ["fgsm", "pgd", "square"],  # noqa: B006 - never changed
    n_images: Annotated[int, Interval(0, 1_000_000)] = 100,
    n_bootstrap: Annotated[int, Interval(100, 100_000)] = 1000,
    seed: Annotated[int, Interval(0, 2**31 - 1)] = 0,
) -> Report:
    """Measure how a classifier stands corruptions and attacks.

    Accuracy and AUC against strength, with intervals by bootstrap of patients: what happens in hospitals (noise, blur,
    rotation, gain, offset, another spacing, a cropped field, JPEG) and attacks within an epsilon of every pixel (FGSM,
    PGD, Square). An attack without gradients that does more harm than one with them is noted.

    Args:
        images: Images of the cohort.
        cohort: With label and split.
        bundle: A classification model; for ONNX only corruptions and Square.
        subset: Value of split; '' for all rows.
        corruptions: Which ones; each has five strengths.
        attacks: Which ones; each has four epsilons.
        n_images: Most images, alike from every class; 0 for all.
        n_bootstrap: Bootstrap samples.
        seed: Of sample, corruptions and attacks.

    Returns:
        robustness: Figures with intervals, curves, attacked examples, a page.

    Raises:
        ContractError: An unknown corruption or attack.
        InputError: No image in the subset, one class only, or a label that is no class of the model.

    Source:
        ART, doi:10.48550/arXiv.1807.01069; Hendrycks and Dietterich 2019, doi:10.48550/arXiv.1903.12261.
    """
    from claimed_med.dicom.robustness import subject_of
    from claimed_med.errors import ContractError
    from claimed_med.progress import progress
    from claimed_med.trust import robustness
    from claimed_med.trust.attack import ATTACKS, EPSILONS
    from claimed_med.trust.corruption import CORRUPTIONS
    from claimed_med.trust.metric import rows

    unknown = sorted({*corruptions} - {*CORRUPTIONS} | {*attacks} - {*ATTACKS})
    if unknown:
        known = ", ".join((*CORRUPTIONS, *ATTACKS))
        raise ContractError("measure-robustness", "unknown corruption or attack", got=", ".join(unknown), allowed=known)
    model = bundle.load()
    subject = subject_of(cohort.load(), images, model, subset=subset, n_images=n_images, seed=seed)
    n_steps = sum(len(CORRUPTIONS[name].strengths) for name in corruptions) + len(attacks) * len(EPSILONS)
    with progress("measure-robustness", n_steps) as bar:
        curves, notes = robustness.measure(
            subject, corruptions=corruptions, attacks=attacks, n_bootstrap=n_bootstrap, seed=seed, progress=bar.advance
        )
    report = {
        "kind": "robustness",
        "model_digest": model.digest,
        "subset": subset,
        "n_images": len(subject.targets),
        "notes": notes,
        "metrics": rows(robustness.metrics_of(curves)),
    }
    drawn = robustness.pictures(curves, subject, seed)
    return Report(report, html=robustness.page(report, drawn), pictures=drawn)
