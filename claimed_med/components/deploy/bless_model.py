"""Bless or refuse a model by a policy over its reports."""

from __future__ import annotations

from typing import NamedTuple

from claimed_med.component import component
from claimed_med.handles import Decision, ModelBundle, Report


class BlessModelOutputs(NamedTuple):
    """What bless_model returns."""

    decision: Decision
    reasons: Report
    verdict: str


@component(
    version="1.0.0",
    tags=("gate", "policy", "blessing"),
    example={
        "bundle": "train-classifier:bundle",
        "performance": "measure-classification:performance",
        "fairness": "measure-fairness:fairness",
        "explanation": "explain-predictions:explanation",
        "robustness": "measure-robustness:robustness",
        "policy": "xray_classifier",
    },
)
def bless_model(
    bundle: ModelBundle,
    performance: Report,
    fairness: Report,
    explanation: Report,
    robustness: Report,
    *,
    policy: str = "xray_classifier",
    fail_on_refusal: bool = False,
) -> BlessModelOutputs:
    """Bless or refuse a model by a policy over its reports.

    Every requirement of the policy is held against the figures of the reports. A figure that is missing, NaN, or was
    measured on another model is a refusal. The run ends well in both cases, so that the reasons are kept; pipelines
    branch on `verdict`, and every component that takes the decision refuses to run on anything but the very payload
    that it blesses.

    Args:
        bundle: The model in question.
        performance: From measure-classification.
        fairness: From measure-fairness.
        explanation: From explain-predictions.
        robustness: From measure-robustness.
        policy: Name of a policy of the package (xray_classifier), or the TOML text of one.
        fail_on_refusal: End with exit code 6 when the model is refused; the reasons are then only printed.

    Returns:
        decision: The verdict on this payload digest, with digest and signature of the policy.
        reasons: Every requirement with figure, limit and outcome.
        verdict: `blessed` or `refused`.

    Raises:
        ContractError: The policy cannot be understood.
        RefusedError: With fail_on_refusal, when the model is refused.
    """
    from dataclasses import asdict

    from claimed_med.blessing import signature_of
    from claimed_med.component import digest_of_input, state
    from claimed_med.errors import RefusedError
    from claimed_med.handles import BLESSED, REFUSED
    from claimed_med.trust import policy as policies
    from claimed_med.trust.page import Page

    chosen = policies.load(policy)
    subject = digest_of_input("bundle")
    reports = {
        "performance": performance.load(),
        "fairness": fairness.load(),
        "explanation": explanation.load(),
        "robustness": robustness.load(),
    }
    reasons = policies.judge(chosen, reports, subject)
    failed = [one for one in reasons if not one.passed]
    verdict = REFUSED if failed else BLESSED
    signed = signature_of(chosen.digest, subject, verdict)
    state(policy_sha256=chosen.digest, policy_signature=signed, verdict=verdict)
    if failed and fail_on_refusal:
        told = "; ".join(f"{one.requirement} [{one.group}]: {one.told or one.value}" for one in failed)
        raise RefusedError("bless-model", f"{len(failed)} of {len(reasons)} requirements do not hold", got=told)
    listed = [asdict(one) for one in reasons]
    content = {"verdict": verdict, "subject": subject, "policy": chosen.name, "policy_sha256": chosen.digest}
    page = Page(f"Model {verdict}")
    page.paragraph(f"Policy {chosen.name!r}: {len(reasons) - len(failed)} of {len(reasons)} requirements hold.",
                   tone="bad" if failed else "good")  # fmt: skip
    page.table(
        ["requirement", "group", "figure", "holds", "why"],
        [[one.requirement, one.group, "-" if one.value is None else round(one.value, 4), "yes" if one.passed else "NO",
          one.told] for one in reasons],
    )  # fmt: skip
    return BlessModelOutputs(
        Decision({**content, "signature": signed, "failed": [asdict(one) for one in failed]}),
        Report({"kind": "blessing", **content, "reasons": listed}, html=page.html()),
        verdict,
    )
