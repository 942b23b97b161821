"""Simultaneous bounds on the quantiles of a sample's order statistics.

The distribution function at the i-th of n independent values, in ascending order, has the beta
distribution (i, n + 1 - i). Equal-tailed intervals of these distributions at a common local level
are bounds on the whole distribution function (Learned-Miller and DeStefano, A Probabilistic Upper
Bound on Differential Entropy, 2008). They are tighter at the ends than bounds of equal width.
"""

import functools
import math
from collections.abc import Sequence

import numpy as np


@functools.lru_cache(maxsize=64)
def quantile_bounds(n: int, level: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return bounds that hold for the quantiles of all n order statistics with probability `level`.

    The local level is chosen such that `coverage` equals `level`, so the bounds are exact for a
    continuous distribution; with ties they hold with at least this probability.

    Args:
        n: Number of independent values, at least 1.
        level: Probability that all bounds hold, between 0.5 and 1.

    Returns:
        The lower and the upper bounds, in ascending order.

    >>> low, high = quantile_bounds(1, 0.95)
    >>> round(low[0], 6), round(high[0], 6)
    (0.025, 0.975)
    """
    # scipy is imported with the first computation: stored comparisons are shown without it
    from scipy.optimize import brentq  # type: ignore[import-untyped]  # scipy ships no types

    def excess(log_local: float) -> float:
        return coverage(*_intervals(n, math.exp(log_local))) - level

    # Bonferroni's local level is too strict, and the level itself too lax
    ends = math.log((1 - level) / (2 * n)), math.log(min(0.99, 2 * (1 - level)))
    return _intervals(n, math.exp(brentq(excess, *ends, xtol=1e-8)))


def coverage(low: Sequence[float], high: Sequence[float]) -> float:
    """Return the probability that n ordered uniform values all lie within their bounds.

    The i-th value lies within its bounds if at most i - 1 values are below low[i] and at least i
    below high[i]. Values are a Poisson process of rate n, given that it has n points in [0, 1]; its
    counts are propagated from bound to bound (Moscovich and Nadler, Fast Calculation of Boundary
    Crossing Probabilities for Poisson Processes, 2017).

    Args:
        low, high: In ascending order, within [0, 1], and low[i] below high[i].

    >>> round(coverage([0.0, 0.5], [0.5, 1.0]), 6)
    0.5
    """
    from scipy.special import gammaln, xlogy  # type: ignore[import-untyped]

    n, now = len(low), 0.0
    times = np.concatenate([low, high])
    counts = np.ones(1)  # of each number of values from the fewest to the most that are allowed
    for bound in np.argsort(times, kind="stable"):
        mean, added = n * (times[bound] - now), np.arange(len(counts))
        arrivals = np.exp(xlogy(added, mean) - mean - gammaln(added + 1))
        counts = np.convolve(counts, arrivals)[: len(counts)]
        counts = np.append(counts, 0.0) if bound < n else counts[1:]
        now = times[bound]
    log_of_n_values = n * math.log(n) - n - gammaln(n + 1)
    return float(counts[0] * math.exp(-n * (1 - now) - log_of_n_values))


def _intervals(n: int, local: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    from scipy.special import betaincinv

    rank = np.arange(1, n + 1)
    low = betaincinv(rank, n + 1 - rank, local / 2)
    high = betaincinv(rank, n + 1 - rank, 1 - local / 2)
    return tuple(low.tolist()), tuple(high.tolist())
