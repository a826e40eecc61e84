"""The model card: what the reporting guidelines ask for, as far as the training knows it.

Items that only people can answer are listed as open questions, never filled with words that sound like answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OPEN = (
    "Ethics approval and the legal ground for the use of the data (CLAIM 6; TRIPOD+AI 18a)",
    "How the reference standard was made, by whom, and its reliability (CLAIM 13-15; TRIPOD+AI 8)",
    "Sample size: why these numbers are enough (CLAIM 19; TRIPOD+AI 10)",
    "Intended users and their role in a decision (CLAIM 2; TRIPOD+AI 3)",
    "Evaluation at another site (CLAIM 32; TRIPOD+AI 12)",
)


def card(told: Mapping[str, Any]) -> dict[str, Any]:
    """The card as JSON-ready values.

    Args:
        told: `Bundle.describe()`.

    Source:
        CLAIM 2024 update, doi:10.1148/ryai.240300; TRIPOD+AI, doi:10.1136/bmj-2023-078378; Mitchell et al. 2019
        (model cards), doi:10.1145/3287560.3287596.
    """
    training, network = told["training"], told["network"]
    return {
        "intended_use": told["intended_use"] or "research; not for clinical use before a blessing and a local check",
        "task": told["task"],
        "outputs": {"classes": told["classes"], "positive": told["positive"], "threshold": told["threshold"]},
        "data (CLAIM 7-12, TRIPOD+AI 5-7)": told["data"],
        "preparation (CLAIM 10, TRIPOD+AI 9)": told["recipe"]["prepare"],
        "model (CLAIM 22-24, TRIPOD+AI 12c)": network or {"format": "ONNX"},
        "training (CLAIM 25-27)": {key: value for key, value in training.items() if key != "history"},
        "selection (CLAIM 26)": "the epoch with the best validation metric; threshold chosen on validation images only",
        "validation metrics": told["metrics"],
        "limits": [
            "Metrics above are of the validation images that chose epoch and threshold; see the performance report.",
            "Valid for images prepared as listed, from scanners and patients like those counted under data.",
        ],
        "open questions": list(_OPEN),
    }


def markdown(shown: Mapping[str, Any]) -> str:
    """The card as Markdown."""
    lines = ["# Model card", ""]
    for name, value in shown.items():
        lines += [f"## {name[0].upper()}{name[1:]}", "", *_lines(value, 0), ""]
    return "\n".join(lines).rstrip() + "\n"


def _lines(value: Any, depth: int) -> list[str]:
    indent = "  " * depth
    if isinstance(value, Mapping):
        found = []
        for name, one in value.items():
            if isinstance(one, Mapping | list) and one:
                found += [f"{indent}- {name}:", *_lines(one, depth + 1)]
            else:
                found.append(f"{indent}- {name}: {_shown(one)}")
        return found
    if isinstance(value, list):
        return [line for one in value for line in _item(one, depth)]
    return [f"{indent}{_shown(value)}"]


def _item(one: Any, depth: int) -> list[str]:
    indent = "  " * depth
    if isinstance(one, Mapping):
        return [f"{indent}- " + ", ".join(f"{name} = {_shown(value)}" for name, value in one.items())]
    return [f"{indent}- {_shown(one)}"]


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
