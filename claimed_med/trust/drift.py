"""Whether a window of cases differs from a reference: a test for every column and one for the embedding.

Few false alarms by three means: the false discovery rate over all columns is controlled (Benjamini and Hochberg), a
difference must also be large (population stability index beyond what chance gives), and cases of one patient count
once, since they are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from claimed_med.errors import ContractError

Floats = npt.NDArray[np.float64]
MISSING, TOO_FEW = "unknown", "too few"
_N_BINS = 10
_MARGIN = 1e-6  # relative: within it numbers are the same, as after a way through float32
_MOST_PERMUTATIONS = 100_000
_MOST_ROWS = 500  # of the embedding test: its cost grows with the square


@dataclass(frozen=True)
class Rules:
    """When a difference counts.

    Attributes:
        alpha: False discovery rate over the columns of a window; where nothing has changed, the part of windows with an
            alarm at the most.
        min_rows: Fewest rows (patients, where they are known) of the window and of the reference.
        min_effect: Least population stability index beyond chance; 0.1 is moderate, 0.25 large.
        n_permutations: Of categorical columns and embeddings, at the least: more are made where the columns are many.
        seed: Of the permutations.
    """

    alpha: float = 0.01
    min_rows: int = 30
    min_effect: float = 0.1
    n_permutations: int = 4999
    seed: int = 0


@dataclass(frozen=True)
class Test:
    """One column of one window against the reference.

    Attributes:
        column: Its name; `embedding` for all columns `embedding_*` together.
        kind: `numeric`, `categorical` or `embedding`.
        statistic: `ks`, `chi_squared` or `mmd`.
        value: Of the statistic.
        p_value: Under no change.
        effect: Population stability index beyond its expectation under no change; for an embedding the MMD over its
            standard deviation under permutation.
        drifted: Significant over all columns and large.
        new: Categories that the reference does not have.
        note: Why there is no test.
    """

    column: str
    kind: str
    statistic: str
    value: float = float("nan")
    p_value: float = 1.0
    effect: float = 0.0
    drifted: bool = False
    new: tuple[str, ...] = ()
    note: str = ""


def compare(reference: pd.DataFrame, window: pd.DataFrame, columns: Sequence[str], rules: Rules) -> list[Test]:
    """Test every column of a window against the reference.

    Args:
        reference: What the model was validated on, or an early time.
        window: New cases.
        columns: Which to test; those named `embedding_*` are tested together.
        rules: When a difference counts.

    Returns:
        One test a column, in the given order, the embedding last.

    Raises:
        ContractError: So many columns at so small an alpha would need too many permutations.
    """
    before, after = once_a_patient(reference), once_a_patient(window)
    plain = [name for name in columns if not name.startswith("embedding_")]
    embedding = [name for name in columns if name.startswith("embedding_")]
    if embedding or not all(is_numeric(before[name]) and is_numeric(after[name]) for name in plain):
        rules = _fine_enough(rules, len(plain) + bool(embedding))
    generator = np.random.default_rng(rules.seed)
    tests = [_column(name, before, after, rules, generator) for name in plain]
    if embedding:
        tests.append(_embedding(before[embedding], after[embedding], rules, generator))
    return judge(tests, rules)


def _fine_enough(rules: Rules, n_tests: int) -> Rules:
    """Rules with so many permutations that their least p-value can be significant over all columns."""
    needed = math.ceil(n_tests / rules.alpha)
    if needed > max(_MOST_PERMUTATIONS, rules.n_permutations):
        raise ContractError(
            "measure-drift",
            "too many columns for so small an alpha: no permutation test could find anything",
            got=f"{n_tests} columns, alpha {rules.alpha:g}",
            allowed=f"at most {_MOST_PERMUTATIONS} times alpha columns",
            do="name fewer columns or raise alpha",
        )
    return replace(rules, n_permutations=max(rules.n_permutations, needed))


def once_a_patient(table: pd.DataFrame) -> pd.DataFrame:
    """The last row of every patient, where the table knows them: their cases are not independent."""
    if "patient_key" not in table.columns:
        return table
    known = table["patient_key"].fillna("").astype(str) != ""
    return pd.concat([table[known].drop_duplicates("patient_key", keep="last"), table[~known]]).sort_index()


def judge(tests: Sequence[Test], rules: Rules) -> list[Test]:
    """The tests with their verdict: false discovery rate over all of them, and size.

    Source:
        Benjamini and Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x.
    """
    tried = [one for one in tests if not one.note]
    if not tried:
        return list(tests)
    adjusted = stats.false_discovery_control([one.p_value for one in tried])
    found = {one.column: q for one, q in zip(tried, adjusted, strict=True)}
    return [
        Test(
            **{
                **vars(one),
                "drifted": bool(found.get(one.column, 1.0) <= rules.alpha and one.effect >= _least(one, rules)),
            }
        )
        for one in tests
    ]


def psi(expected: npt.ArrayLike, found: npt.ArrayLike) -> float:
    """Population stability index of two vectors of counts over the same bins; empty bins count half a row.

    Source:
        Siddiqi 2006, Credit Risk Scorecards; Yurdakul and Naranjo 2020, doi:10.21314/JRMV.2020.227.
    """
    before, after = np.asarray(expected, dtype=np.float64), np.asarray(found, dtype=np.float64)
    first = np.maximum(before, 0.5) / max(before.sum(), 1)
    second = np.maximum(after, 0.5) / max(after.sum(), 1)
    return float(((second - first) * np.log(second / first)).sum())


def psi_by_chance(n_bins: int, n_reference: int, n_window: int) -> float:
    """The population stability index that is expected where nothing has changed."""
    return (n_bins - 1) * (1 / max(n_reference, 1) + 1 / max(n_window, 1))


def is_numeric(column: pd.Series) -> bool:
    """Whether a column is tested by its order: numbers that are no flags."""
    return bool(pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column))


def _least(one: Test, rules: Rules) -> float:
    return 0.0 if one.kind == "embedding" else rules.min_effect


def _column(
    name: str, reference: pd.DataFrame, window: pd.DataFrame, rules: Rules, generator: np.random.Generator
) -> Test:
    numeric = is_numeric(reference[name]) and is_numeric(window[name])
    kind, statistic = ("numeric", "ks") if numeric else ("categorical", "chi_squared")
    if min(len(reference), len(window)) < rules.min_rows:
        return Test(name, kind, statistic, note=TOO_FEW)
    gone = int(reference[name].isna().sum()), int(window[name].isna().sum())
    missing = _categorical(name, _flags(reference[name]), _flags(window[name]), rules, generator) if any(gone) else None
    if not numeric:
        return _categorical(name, _words(reference[name]), _words(window[name]), rules, generator)
    before, after = (one[name].dropna().to_numpy(dtype=np.float64) for one in (reference, window))
    if min(len(before), len(after)) < rules.min_rows:
        return missing or Test(name, kind, statistic, note=TOO_FEW)
    found = _numeric(name, before, after)
    if missing is not None and missing.p_value < found.p_value:
        return Test(**{**vars(missing), "new": ("missing values",), "p_value": min(1.0, 2 * missing.p_value)})
    return found if missing is None else Test(**{**vars(found), "p_value": min(1.0, 2 * found.p_value)})


def _numeric(name: str, before: Floats, after: Floats) -> Test:
    edges = _edges(before)
    counts = np.array([np.bincount(np.digitize(one, edges), minlength=len(edges) + 1) for one in (before, after)])
    counts = counts[:, counts.any(axis=0)]
    found = stats.ks_2samp(before, after, method="asymp")
    chance = psi_by_chance(counts.shape[1], len(before), len(after))
    return Test(name, "numeric", "ks", float(found.statistic), float(found.pvalue), max(0.0, psi(*counts) - chance))


def _edges(reference: Floats) -> Floats:
    """Edges of bins: tenths of the reference; a bin each for what lies below it, beyond it, and for a heavy value."""
    margin = _MARGIN * float(np.abs(reference).max())
    values, counts = np.unique(reference, return_counts=True)
    heavy = values[counts * _N_BINS >= len(reference)]
    tenths = np.quantile(reference, np.linspace(0, 1, _N_BINS + 1)[1:-1])
    tenths = tenths[(np.abs(tenths[:, None] - heavy) > margin).all(axis=1)]
    ends = [values[0] - margin, np.nextafter(values[-1] + margin, np.inf)]
    return np.unique(np.concatenate([ends, tenths, heavy - margin, np.nextafter(heavy + margin, np.inf)]))


def _categorical(name: str, before: pd.Series, after: pd.Series, rules: Rules, generator: np.random.Generator) -> Test:
    labels = sorted({*before, *after})
    counts = np.array([[int((one == label).sum()) for label in labels] for one in (before, after)])
    new = tuple(str(label) for label, n in zip(labels, counts[0], strict=True) if not n)
    if len(labels) < 2:
        return Test(name, "categorical", "chi_squared", 0.0, 1.0, 0.0, new=new)
    total = counts.sum(axis=0)
    value = float(_chi_squared(counts[1][None], total)[0])
    if len(labels) > 2:
        drawn = generator.multivariate_hypergeometric(total, int(counts[1].sum()), size=rules.n_permutations)
        p_value = (1 + int((_chi_squared(drawn, total) >= value - 1e-9).sum())) / (1 + rules.n_permutations)
    else:
        p_value = float(stats.fisher_exact(counts).pvalue)
    chance = psi_by_chance(len(labels), int(counts[0].sum()), int(counts[1].sum()))
    return Test(name, "categorical", "chi_squared", value, p_value, max(0.0, psi(*counts) - chance), new=new)


def _chi_squared(drawn: npt.NDArray[np.int64], total: npt.NDArray[np.int64]) -> Floats:
    """Pearson's statistic of both rows of each table whose second row is `drawn` and whose columns sum to `total`."""
    n, size = int(total.sum()), drawn[0].sum()
    expected = total * (size / n)
    deviation = (drawn - expected) ** 2
    return np.asarray((deviation / expected + deviation / (total - expected)).sum(axis=1))


def _words(column: pd.Series) -> pd.Series:
    return column.astype(object).where(column.notna(), MISSING).astype(str)


def _flags(column: pd.Series) -> pd.Series:
    return column.isna().map({True: "missing", False: "there"})


def _embedding(before: pd.DataFrame, after: pd.DataFrame, rules: Rules, generator: np.random.Generator) -> Test:
    first, second = (_sampled(one.dropna().to_numpy(dtype=np.float64), generator) for one in (before, after))
    if min(len(first), len(second)) < rules.min_rows:
        return Test("embedding", "embedding", "mmd", note=TOO_FEW)
    both = np.concatenate([first, second])
    spread = both.std(axis=0)
    kernel = _kernel(both[:, spread > 0] / spread[spread > 0])
    member = np.zeros((rules.n_permutations + 1, len(both)))
    member[0, len(first) :] = 1.0
    member[1:] = generator.permuted(np.broadcast_to(member[0], (rules.n_permutations, len(both))), axis=1)
    values = _mmd(kernel, member, len(first), len(second))
    p_value = (1 + int((values[1:] >= values[0] - 1e-12).sum())) / (1 + rules.n_permutations)
    return Test("embedding", "embedding", "mmd", float(values[0]), p_value, max(0.0, float(values[0])))


def _sampled(rows: Floats, generator: np.random.Generator) -> Floats:
    if len(rows) <= _MOST_ROWS:
        return rows
    return rows[np.sort(generator.choice(len(rows), _MOST_ROWS, replace=False))]


def _kernel(rows: Floats) -> Floats:
    """Gaussian kernel, its width the median distance; the diagonal is left out."""
    squared = (rows**2).sum(axis=1)
    distance = np.maximum(squared[:, None] + squared[None] - 2 * rows @ rows.T, 0.0)
    upper = distance[np.triu_indices(len(rows), 1)]
    width = float(np.median(upper[upper > 0])) if (upper > 0).any() else 1.0
    kernel = np.exp(-distance / width)
    np.fill_diagonal(kernel, 0.0)
    return np.asarray(kernel)


def _mmd(kernel: Floats, member: Floats, n_first: int, n_second: int) -> Floats:
    """The unbiased squared maximum mean discrepancy of every assignment of rows to the second sample.

    Source:
        Gretton et al. 2012, JMLR 13:723-773.
    """
    towards = member @ kernel
    second = (towards * member).sum(axis=1)
    across = towards.sum(axis=1) - second
    first = kernel.sum() - second - 2 * across
    return np.asarray(
        first / (n_first * (n_first - 1)) + second / (n_second * (n_second - 1)) - 2 * across / (n_first * n_second)
    )
