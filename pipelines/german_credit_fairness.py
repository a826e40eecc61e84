"""Bias of German credit before and after mitigation, over many splits, with everything needed to recompute it.

Compile with `claimed-med pipeline compile german_credit_fairness`.
"""

from collections.abc import Callable
from pathlib import Path

from kfp import components, dsl

HOME = Path(__file__).parent.parent / "components"


def component(category: str, name: str) -> Callable[..., dsl.PipelineTask]:
    """A component by its generated contract."""
    return components.load_component_from_file(str(HOME / category / name / "component.yaml"))


load_credit_table = component("input", "load-credit-table")
mitigate_bias = component("train", "mitigate-bias")


@dsl.pipeline(description="german.data in; fairness of sex and age before and after mitigation out, split by split.")
def german_credit_fairness(
    table: str,
    n_splits: int = 20,
    first_seed: int = 0,
    method: str = "reweighed_ensemble",
) -> None:
    """Mitigate the bias of German credit.

    Args:
        table: A german.data file of UCI.
        n_splits: Splits into 70 % training and 30 % test.
        first_seed: Seed of the first split; the others follow.
        method: How bias is mitigated.
    """
    loaded = load_credit_table(path=table).set_caching_options(False)
    mitigate_bias(applicants=loaded.outputs["applicants"], n_splits=n_splits, first_seed=first_seed, method=method)
