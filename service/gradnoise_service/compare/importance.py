"""What a search says of the hyperparameters' weight: the variance of its values, as ranks, taken
apart among them.

Functional analysis of variance (Hutter, Hoos and Leyton-Brown 2014) over groups of the
hyperparameters' values, each share adjusted for the number of groups: R^2 becomes 1 - (1 - R^2) (n
- 1) / (n - p), p the groups or cells, which for values that hang on nothing is 0 on average. Of
ranks, so that a lost trial counts as the worst and no more; pruned trials are left out, and nothing
is said of fewer than 20.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from gradnoise_service.compare.comparison import LOST, Importance, Interaction, SearchPoint
from gradnoise_service.compare.intervals import ranks
from gradnoise_service.domain.spec import Value
from gradnoise_service.domain.study import Metric

FEWEST_TRIALS = 20
N_BINS = 4
TRIALS_A_CELL = 5
FEWEST_A_CELL = 3
ALONE = 0.95
"""Chance that noise alone stays below what is given as its reach."""


def importances(metric: Metric, points: Sequence[SearchPoint]) -> list[Importance]:
    """Return how much of the differences between an arm's trials each hyperparameter explains
    alone, the most first.

    `share` = (H - k + 1) / (n - k), at least 0: eta squared of the Kruskal-Wallis test (Tomczak and
    Tomczak 2014), H its statistic, ties corrected, over k groups of the hyperparameter's values:
    each value where they are at most 5, else 4 groups of equal size.
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
    return sorted(found, key=lambda one: -one.share)


def interactions(metric: Metric, points: Sequence[SearchPoint]) -> list[Interaction]:
    """Return how much each pair of hyperparameters explains beyond what both explain one by one,
    the most first.

    As many groups of each, at most 4, as leave 5 trials a cell; pairs with fewer than 3 a cell, as
    words of many values can make, are left out.
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
        share, freedom, rest = interaction(values, first, second)
        if freedom:
            found.append(
                Interaction(
                    arm=points[0].arm,
                    names=(name, other),
                    share=_within(share),
                    chance=chance_share(freedom, rest),
                    n_cells=n - rest,
                    n=n,
                )
            )
    return sorted(found, key=lambda one: -one.share)


def interaction(
    values: Sequence[float], first: Sequence[int], second: Sequence[int]
) -> tuple[float, int, int]:
    """Return the share of the ranks' variance that the cells of two groupings explain beyond the
    sum of both, and the degrees of freedom.

    (S_sum / (n - r) - S_cells / (n - c)) / (S / (n - 1)): S the squared deviations of the n ranks
    from their mean, S_sum those from the least-squares fit of an effect of each first plus one of
    each second group, of r free numbers, S_cells those from the means of the c cells that hold
    anything. Both mean squares estimate the same variance where effects add up, so the share is
    then 0 on average; by chance it can be below 0. The degrees are c - r, of what is beyond the
    sum, and n - c; the share is 0 where one of them is.
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
    """Return the statistic of Kruskal and Wallis (1952), ties corrected: n - 1 times the share of
    the ranks' variance between groups.
    """
    ranked, place = ranks(values), np.asarray(of_group)
    centre = ranked.mean()
    between = sum(
        (place == g).sum() * (ranked[place == g].mean() - centre) ** 2 for g in set(of_group)
    )
    return float((len(ranked) - 1) * between / np.sum((ranked - centre) ** 2))


def chance_share(freedom: int, rest: int) -> float:
    """Return what share the values of trials that hang on nothing stay below in 95 of 100 searches.

    The raw share is then about Beta(d / 2, e / 2), with d degrees of freedom for what explains and
    e for the rest; q its quantile, the adjusted one is 1 - (1 - q) (d + e) / e.

    >>> round(chance_share(3, 26), 3), round(chance_share(3, 196), 3)
    (0.17, 0.024)
    """
    # scipy is loaded when something is computed: a process that only shows stored comparisons stays
    # small
    from scipy.special import betaincinv  # type: ignore[import-untyped]  # scipy ships no types

    return float(1 - (1 - betaincinv(freedom / 2, rest / 2, ALONE)) * (freedom + rest) / rest)


def groups(values: Sequence[object], n_bins: int = N_BINS) -> list[int]:
    """Return a group for each value: one for each distinct value where they are at most 5 or no
    numbers, else n_bins of equal size.
    """
    distinct = list(dict.fromkeys(values))
    if len(distinct) <= N_BINS + 1 or any(
        isinstance(value, str) or value is None for value in distinct
    ):
        numbers = all(isinstance(value, int | float) for value in distinct)
        # numbers
        order = {value: i for i, value in enumerate(sorted(distinct) if numbers else distinct)}  # type: ignore[type-var]
        return [order[value] for value in values]
    x = np.asarray(values, dtype=float)
    return [
        int(group)
        for group in np.searchsorted(np.quantile(x, [i / n_bins for i in range(1, n_bins)]), x)
    ]


def _rated(
    metric: Metric, points: Sequence[SearchPoint]
) -> tuple[list[float], dict[str, list[Value | None]]]:
    """Return the values of the trials that count, lost ones as the worst, and their hyperparameters
    by name; nothing of too few.
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
