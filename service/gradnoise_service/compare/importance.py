"""Importance of hyperparameters: an analysis of variance of the search's values, as ranks.

Functional analysis of variance (Hutter, Hoos and Leyton-Brown 2014) over groups of the
hyperparameters' values. Each share is adjusted for the number of groups: R^2 becomes 1 - (1 - R^2)
(n - 1) / (n - p) with p groups or cells, which is 0 on average without an effect. Ranks limit the
weight of a lost trial, which counts as the worst; pruned trials are left out. Fewer than 20 trials
have no importances.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from gradnoise_service.compare.facts.base import LOST
from gradnoise_service.compare.facts.diagnostics import Importance, Interaction
from gradnoise_service.compare.facts.tables import SearchPoint
from gradnoise_service.compare.ranks import ranks
from gradnoise_service.domain.space import Scalar, Value, is_number, label
from gradnoise_service.domain.study import Metric

FEWEST_TRIALS = 20
N_BINS = 4
TRIALS_A_CELL = 5
FEWEST_A_CELL = 3
ALONE = 0.95
"""Probability that the share of a hyperparameter without effect is below its `chance`."""


def importances(metric: Metric, points: Sequence[SearchPoint]) -> list[Importance]:
    """Return the share of variance that each hyperparameter explains alone, largest first.

    `share` = (H - k + 1) / (n - k), at least 0: eta squared of the Kruskal-Wallis test (Tomczak and
    Tomczak 2014), with H its statistic, corrected for ties, over k groups of the hyperparameter's
    values: at most 5 different values are a group each, more are 4 groups of equal size.
    """
    values, columns = _rated(metric, points)
    found = []
    for name, column in columns.items():
        of_group = groups(column)
        k, n = len(set(of_group)), len(values)
        if 2 <= k < n:
            share = (kruskal_h(values, of_group) - k + 1) / (n - k)
            found.append(
                Importance(
                    arm=points[0].arm,
                    name=name,
                    share=_within(share),
                    chance=chance_share(k - 1, n - k),
                    n_groups=k,
                    n=n,
                )
            )
    return sorted(found, key=lambda found: -found.share)


def interactions(metric: Metric, points: Sequence[SearchPoint]) -> list[Interaction]:
    """Return the share that each pair explains beyond the sum of its two, largest first.

    Each hyperparameter has at most 4 groups, as many as leave 5 trials a cell. Pairs with fewer
    than 3 trials a cell are left out, which can happen with many different words.
    """
    values, columns = _rated(metric, points)
    n = len(values)
    n_bins = max(2, min(N_BINS, math.isqrt(n // TRIALS_A_CELL)))
    grouped = {name: groups(column, n_bins) for name, column in columns.items()}
    varied = {name: of_group for name, of_group in grouped.items() if len(set(of_group)) > 1}
    found = []
    for (name, first), (other, second) in itertools.combinations(varied.items(), 2):
        if n < FEWEST_A_CELL * len(set(first)) * len(set(second)):
            continue
        share, freedom, residual = interaction(values, first, second)
        if freedom:
            found.append(
                Interaction(
                    arm=points[0].arm,
                    names=(name, other),
                    share=_within(share),
                    chance=chance_share(freedom, residual),
                    n_cells=n - residual,
                    n=n,
                )
            )
    return sorted(found, key=lambda found: -found.share)


def interaction(
    values: Sequence[float], first: Sequence[int], second: Sequence[int]
) -> tuple[float, int, int]:
    """Return the share of the ranks' variance that two groupings explain beyond their sum.

    It is (S_sum / (n - r) - S_cells / (n - c)) / (S / (n - 1)): S the squared deviations of the n
    ranks from their mean, S_sum those from the least-squares fit of an effect of each group of both
    groupings, with r free parameters, S_cells those from the means of the c non-empty cells. Where
    effects add up, both mean squares estimate the same variance, so the share is 0 on average; it
    can be negative by chance.

    Returns:
        The share, and the degrees of freedom c - r and n - c; the share is 0 if either is 0.
    """
    ranked = ranks(values)
    ranked = ranked - ranked.mean()
    a, b = (np.unique(grouping, return_inverse=True)[1] for grouping in (first, second))
    cells = np.unique(np.stack([a, b]), axis=1, return_inverse=True)[1].ravel()
    design = np.concatenate([np.eye(a.max() + 1)[a], np.eye(b.max() + 1)[b]], axis=1)
    effects, _, r, _ = np.linalg.lstsq(design, ranked, rcond=None)
    n, c = len(ranked), cells.max() + 1
    whole = float(ranked @ ranked)
    if c in (r, n) or whole == 0:
        return 0.0, 0, int(n - c)
    from_sum = float(np.sum((ranked - design @ effects) ** 2))
    from_cells = whole - float(np.sum(np.bincount(cells, ranked) ** 2 / np.bincount(cells)))
    share = (from_sum / (n - r) - from_cells / (n - c)) * (n - 1) / whole
    return float(share), int(c - r), int(n - c)


def kruskal_h(values: Sequence[float], of_group: Sequence[int]) -> float:
    """Return the statistic of Kruskal and Wallis (1952), corrected for ties.

    It is n - 1 times the share of the ranks' variance between groups.
    """
    ranked, labels = ranks(values), np.asarray(of_group)
    centre = ranked.mean()
    between = sum(
        (labels == g).sum() * (ranked[labels == g].mean() - centre) ** 2 for g in set(of_group)
    )
    return float((len(ranked) - 1) * between / np.sum((ranked - centre) ** 2))


def chance_share(freedom: int, residual: int) -> float:
    """Return the 95 % quantile of the share without an effect.

    The raw share is then about Beta(d / 2, e / 2), with d = `freedom` degrees of freedom of the
    effect and e = `residual` of the residuals; from its quantile q the adjusted share is 1 - (1 -
    q) (d + e) / e.

    >>> round(chance_share(3, 26), 3), round(chance_share(3, 196), 3)
    (0.17, 0.024)
    """
    # scipy is imported with the first computation: stored comparisons are shown without it
    from scipy.special import betaincinv  # type: ignore[import-untyped]  # scipy ships no types

    return float(
        1 - (1 - betaincinv(freedom / 2, residual / 2, ALONE)) * (freedom + residual) / residual
    )


def groups(values: Sequence[Value], n_bins: int = N_BINS) -> list[int]:
    """Return the group of each value.

    At most 5 different values, or values that are no numbers, are a group each; else there are
    n_bins groups of equal size.
    """
    labels = [label(value) for value in values]
    distinct = list(dict.fromkeys(labels))
    if len(distinct) <= N_BINS + 1 or any(not is_number(value) for value in distinct):
        numbers = sorted(value for value in distinct if is_number(value))
        ordered: list[Scalar] = [*numbers] if len(numbers) == len(distinct) else distinct
        return [ordered.index(value) for value in labels]
    x = np.asarray(values, dtype=float)
    return [
        int(group)
        for group in np.searchsorted(np.quantile(x, [i / n_bins for i in range(1, n_bins)]), x)
    ]


def _rated(
    metric: Metric, points: Sequence[SearchPoint]
) -> tuple[list[float], dict[str, list[Value | None]]]:
    """Return the values of the ended trials, and their hyperparameters by name.

    A lost trial has the worst value. Both are empty if there are too few trials.
    """
    rated = [
        (point.params, metric.worst if point.outcome in LOST else point.value)
        for point in points
        if point.outcome in LOST or (point.outcome == "complete" and point.value is not None)
    ]
    values = [value for _, value in rated if value is not None]
    if len(values) < FEWEST_TRIALS or len(set(values)) < 2:
        return [], {}
    names = dict.fromkeys(name for params, _ in rated for name in params)
    return values, {name: [params.get(name) for params, _ in rated] for name in names}


def _within(share: float) -> float:
    return min(1.0, max(0.0, share))
