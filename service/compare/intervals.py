"""Intervals and tests for a handful of paired differences: how sure the data allow us to be.

    mean     BCa bootstrap (Efron 1987), its level widened so that few pairs do not make it too narrow (Hesterberg 2015, section 4.4)
    share    Wilson's score interval (1927)
    p        Wilcoxon's signed-rank test by flipping signs, zeros after Pratt (1959), adjusted after Holm (1979)

Under the hypothesis that two arms are the same, swapping them within a pair changes nothing, so every sign of a difference is as likely as
its opposite: flipping signs is exact whatever the distribution, ties and gaps included. The bootstrap is not: hence a verdict needs both.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from service.compare.comparison import Interval

N_RESAMPLES = 9_999


def mean_interval(differences: Sequence[float], *, level: float, seed: int) -> Interval:
    """Return a BCa bootstrap interval for the mean of independent differences.

    The tails are taken at Phi(-sqrt(n / (n - 1)) t_{n-1}) instead of (1 - level) / 2, with t_{n-1} Student's quantile at that level: for
    normal data the interval is then about as wide as Student's, where a plain bootstrap of 6 pairs covers 86 % instead of 95 %.

    Args:
        differences: At least 2 finite numbers.
        level: Confidence level, in (0, 1).
        seed: Seed of the resampling; equal seeds give equal intervals.

    Returns:
        The interval; without width where all differences are equal, which says nothing about its precision.
    """
    # scipy is loaded when something is computed, so that a process that only shows stored comparisons stays small
    from scipy import stats  # type: ignore[import-untyped]  # scipy ships no types

    x = np.asarray(differences, dtype=float)
    if np.ptp(x) <= 1e-12 * np.max(np.abs(x)):
        mean = float(np.mean(x))
        return Interval(low=mean, high=mean, level=level, method="no width: every pair differs by the same amount")
    t = stats.t.ppf((1 + level) / 2, len(x) - 1)
    widened = 1 - 2 * stats.norm.cdf(-math.sqrt(len(x) / (len(x) - 1)) * t)
    found = stats.bootstrap(
        (x,),
        np.mean,
        axis=-1,
        n_resamples=N_RESAMPLES,
        batch=1_000,
        confidence_level=widened,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    low, high = (float(end) for end in found.confidence_interval)
    return Interval(low=low, high=high, level=level, method=f"BCa bootstrap, {N_RESAMPLES} resamples, widened for {len(x)} pairs")


def share_interval(share: float, n: int, *, level: float) -> Interval:
    """Return Wilson's interval for a share of n trials, in [0, 1]; half a success (a tie) is allowed.

    >>> interval = share_interval(0.5, 10, level=0.95)
    >>> round(interval.low, 4), round(interval.high, 4)
    (0.2366, 0.7634)
    """
    z = _normal_quantile((1 + level) / 2)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(low=max(0.0, centre - half), high=min(1.0, centre + half), level=level, method="Wilson")


def signed_rank_p(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test, counted over all 2^n ways to set the signs.

    W+ is the sum of the positive differences' ranks by size. The chances of each sum follow by adding one rank after the other; ties share
    their mean rank, so twice the ranks are whole numbers. Beyond 400 pairs the normal approximation is as good.

    >>> signed_rank_p([0.2, 0.1, 0.3, 0.3, 0.2, 0.5])
    0.03125
    """
    from scipy import stats

    x = np.asarray(differences, dtype=float)
    if not x.any():
        return 1.0
    if len(x) > 400:
        return float(stats.wilcoxon(x, zero_method="pratt", method="asymptotic").pvalue)
    doubled = np.rint(2 * stats.rankdata(np.abs(x))).astype(int)
    chances = np.zeros(doubled.sum() + 1)
    chances[0] = 1.0
    for rank in doubled[x != 0]:
        chances /= 2
        chances[rank:] = chances[rank:] + chances[:-rank]
    observed = doubled[x > 0].sum()
    return float(min(1.0, 2 * min(chances[: observed + 1].sum(), chances[observed:].sum())))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted so that rejecting those up to alpha errs once or more with probability alpha at most.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted


def fewest_pairs(alpha: float) -> int:
    """Return the fewest pairs that can decide at all: n differences of one sign happen by chance with probability 2^(1 - n).

    >>> fewest_pairs(0.05), fewest_pairs(0.025)
    (6, 7)
    """
    return math.ceil(1 - math.log2(alpha))


def pairs_needed(spread: float, half_width: float, *, level: float) -> int:
    """Return for about how many pairs of that standard deviation the interval of the mean has the half width: (z s / h)^2."""
    return math.ceil((_normal_quantile((1 + level) / 2) * spread / half_width) ** 2)


def _normal_quantile(share: float) -> float:
    return NormalDist().inv_cdf(share)
