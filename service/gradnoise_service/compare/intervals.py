"""Confidence intervals for few paired differences, and for shares.

Means have BCa bootstrap intervals (Efron 1987) at a level that is widened for few pairs (Hesterberg
2015, section 4.4), interquartile means too (Agarwal et al. 2021); shares have Wilson's score
interval (1927).
"""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np

from gradnoise_service.compare.facts.base import Interval

N_RESAMPLES = 9_999
BATCH = 1_000
NORMAL = NormalDist()
Statistic = Callable[[np.ndarray], np.ndarray]
"""Maps each row to a value."""


def mean_interval(differences: Sequence[float], *, level: float, seed: int) -> Interval:
    """Return a BCa bootstrap interval for the mean of independent differences.

    The ends are the quantiles Phi(z0 + (z0 + z) / (1 - a (z0 + z))) of the resampled means: z0 from
    the share of them below the mean, a the sum of cubed deviations over 6 times the sum of squared
    ones to the power 1.5. Instead of the normal quantile, z = ± sqrt(n / (n - 1)) t with Student's
    quantile t: for normal data the interval is then about Student's, while a plain bootstrap of 6
    pairs covers 86 %. At a level that the resamples cannot resolve, such as that of an early look,
    an end is the mean ± t s / sqrt(n) if that is further out.

    Args:
        differences: At least 2 finite numbers.
        level: Confidence level, in (0, 1).
        seed: Seed of the resampling; equal seeds give equal intervals.

    Returns:
        The interval; without width if all differences are equal, since their precision is then
        unknown.
    """
    x = np.asarray(differences, dtype=float)
    return _bca(x, _means, x - np.mean(x), level=level, seed=seed)


def interquartile_mean(values: Sequence[float]) -> float:
    """Return the mean without the lowest and highest quarter, each rounded down (Agarwal 2021).

    >>> interquartile_mean([0, 1, 2, 3, 4, 5, 6, 100])
    3.5
    """
    return float(_interquartile_means(np.asarray(values, dtype=float)[None])[0])


def interquartile_interval(differences: Sequence[float], *, level: float, seed: int) -> Interval:
    """Return a BCa bootstrap interval for the interquartile mean of independent differences.

    It is widened like the mean's. For its acceleration, a value's influence is the deviation from
    the mean after the cut values were moved to the nearest kept one (Huber 1981, section 3.3).
    Arguments as for `mean_interval`.
    """
    x = np.asarray(differences, dtype=float)
    middle = _middle(np.sort(x))
    moved = np.clip(x, middle[0], middle[-1])
    return _bca(x, _interquartile_means, moved - np.mean(moved), level=level, seed=seed)


def share_interval(share: float, n: int, *, level: float) -> Interval:
    """Return Wilson's interval for a share of n trials, within [0, 1].

    A tie counts as half a success. scipy's `binomtest(k, n).proportion_ci(method="wilson")` takes
    whole successes only, so the formula is evaluated here; at whole successes both agree.

    >>> interval = share_interval(0.5, 10, level=0.95)
    >>> round(interval.low, 4), round(interval.high, 4)
    (0.2366, 0.7634)
    """
    z = NORMAL.inv_cdf((1 + level) / 2)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # shares of 0 and 1 are exact ends; the formula would leave rounding errors
    low, high = 0.0 if share == 0 else centre - half, 1.0 if share == 1 else centre + half
    return Interval(low=low, high=high, level=level, method="wilson")


def _bca(
    x: np.ndarray, statistic: Statistic, influence: np.ndarray, *, level: float, seed: int
) -> Interval:
    # scipy is imported with the first computation: stored comparisons are shown without it
    from scipy.special import stdtrit  # type: ignore[import-untyped]  # scipy ships no types

    n, value = len(x), float(statistic(x[None])[0])
    if np.ptp(x) <= 1e-12 * np.max(np.abs(x)):
        return Interval(low=value, high=value, level=level, method="no_width_equal")
    resampled = _resampled(x, statistic, seed)
    below = float(np.mean(resampled < value) + np.mean(resampled <= value)) / 2
    z0 = NORMAL.inv_cdf(min(max(below, 0.5 / N_RESAMPLES), 1 - 0.5 / N_RESAMPLES))
    u = influence / (np.max(np.abs(influence)) or 1.0)
    a = np.sum(u**3) / (6 * np.sum(u**2) ** 1.5) if u.any() else 0.0
    z = z0 + math.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 + level) / 2) * np.array([-1, 1])
    # where 1 - a z reaches 0 the end is infinite; beyond, the formula changes sides
    shares = [NORMAL.cdf(z0 + end / (1 - a * end)) if a * end < 1 else float(end > 0) for end in z]
    low, high = (float(end) for end in np.quantile(resampled, shares))
    if low == high:
        return Interval(low=low, high=high, level=level, method="no_width_tied")
    if NORMAL.cdf(z[0] - z0) >= 1 / N_RESAMPLES:
        return Interval(low=low, high=high, level=level, method="bca")
    student = value + (z - z0) * np.std(resampled)
    return Interval(
        low=float(min(low, student[0])),
        high=float(max(high, student[1])),
        level=level,
        method="bca_student",
    )


def _means(rows: np.ndarray) -> np.ndarray:
    means: np.ndarray = rows.mean(axis=1)
    return means


def _interquartile_means(rows: np.ndarray) -> np.ndarray:
    return _means(_middle(np.sort(rows, axis=-1)))


def _middle(ordered: np.ndarray) -> np.ndarray:
    n_cut = ordered.shape[-1] // 4
    return ordered[..., n_cut : ordered.shape[-1] - n_cut]


def _resampled(x: np.ndarray, statistic: Statistic, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    sizes = [min(BATCH, N_RESAMPLES - start) for start in range(0, N_RESAMPLES, BATCH)]
    return np.concatenate([statistic(x[rng.integers(0, len(x), (size, len(x)))]) for size in sizes])
