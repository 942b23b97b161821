"""Rank statistics: the signed-rank test, Holm's adjustment, probability of improvement."""

import math
from collections.abc import Sequence

import numpy as np

from gradnoise_service.compare.sign_flips import MOST_COUNTED, NORMAL, positive_sums


def signed_rank_p(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test over all 2^n sign flips.

    W+ is the sum of the ranks of the positive differences by size, zeros ranked (Pratt 1959). The
    probability of each sum follows by adding the ranks successively; ties share their mean rank, so
    twice the ranks are whole numbers.

    >>> signed_rank_p([0.2, 0.1, 0.3, 0.3, 0.2, 0.5])
    0.03125
    """
    x = np.asarray(differences, dtype=float)
    doubled = (2 * ranks(np.abs(x))).astype(int)
    signed, observed = doubled[x != 0], doubled[x > 0].sum()
    if len(signed) > MOST_COUNTED:
        z = (2 * observed - signed.sum()) / math.sqrt(np.sum(signed.astype(float) ** 2))
        return 2 * NORMAL.cdf(-abs(z))
    chances = positive_sums(signed)
    return float(min(1.0, 2 * min(chances[: observed + 1].sum(), chances[observed:].sum())))


def ranks(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return each value's rank, 1 the lowest; equal values share the mean of their ranks.

    Values that differ by rounding alone are equal: by less than 2^-40 of the largest.

    >>> ranks([0.3, 0.1, 0.1 + 0.2, 0.2]).tolist()
    [3.5, 1.0, 3.5, 2.0]
    """
    x = np.asarray(values, dtype=float)
    unit = (np.max(np.abs(x), initial=0.0) or 1.0) * 2.0**-40
    _, index, n_equal = np.unique(np.round(x / unit), return_inverse=True, return_counts=True)
    shared: np.ndarray = np.cumsum(n_equal) - (n_equal - 1) / 2
    return shared[index]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number (Holm 1979).

    Rejecting those up to alpha makes a type I error with probability alpha at most.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted


def probability_of_improvement(values: Sequence[float], others: Sequence[float]) -> float:
    """Return the probability that a value exceeds one of the others, over all pairs of both.

    A tie counts half (Agarwal et al. 2021).

    >>> probability_of_improvement([3, 1], [2, 1])
    0.625
    """
    ordered = np.sort(others)
    below = np.searchsorted(ordered, values, side="left") + np.searchsorted(
        ordered, values, side="right"
    )
    return float(below.mean() / (2 * len(ordered)))
