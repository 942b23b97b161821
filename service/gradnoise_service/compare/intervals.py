"""Intervals and tests for a handful of paired differences: how sure the data allow us to be.

    mean     BCa bootstrap (Efron 1987), its level widened so that few pairs do not make it too
    narrow (Hesterberg 2015, section 4.4);
             so for the interquartile mean (Agarwal et al. 2021)
    share    Wilson's score interval (1927) p        Wilcoxon's signed-rank test by flipping signs,
    zeros after Pratt (1959), adjusted after Holm (1979)

Under the hypothesis that two arms are the same, swapping them within a pair changes nothing, so
every sign of a difference is as likely as its opposite: flipping signs is exact whatever the
distribution, ties and gaps included. The bootstrap is not: hence a verdict needs both.
"""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np

from gradnoise_service.compare.comparison import Interval

N_RESAMPLES = 9_999
BATCH = 1_000
NORMAL = NormalDist()
Statistic = Callable[[np.ndarray], np.ndarray]
"""One value for each row."""


def mean_interval(differences: Sequence[float], *, level: float, seed: int) -> Interval:
    """Return a BCa bootstrap interval for the mean of independent differences.

    The ends are the quantiles Phi(z0 + (z0 + z) / (1 - a (z0 + z))) of the resampled means: z0 from
    the share of them below the mean, a the sum of cubed deviations over 6 times the sum of squared
    ones to 1.5. Instead of the normal quantile, z = ± sqrt(n / (n - 1)) t with Student's quantile
    t: for normal data the interval is then about Student's, where that of a plain bootstrap of 6
    pairs covers 86 %. At a level that the resamples cannot resolve, as an early look's, an end is
    the mean ± t s / sqrt(n) where that lies further out.

    Args:
        differences: At least 2 finite numbers.
        level: Confidence level, in (0, 1).
        seed: Seed of the resampling; equal seeds give equal intervals.

    Returns:
        The interval; without width where all differences are equal, which says nothing about its
        precision.
    """
    x = np.asarray(differences, dtype=float)
    return _bca(x, _means, x - np.mean(x), level=level, seed=seed)


def interquartile_mean(values: Sequence[float]) -> float:
    """Return the mean of what is left when the lowest and the highest quarter, rounded down, are
    cut (Agarwal et al. 2021).

    >>> interquartile_mean([0, 1, 2, 3, 4, 5, 6, 100])
    3.5
    """
    return float(_interquartile_means(np.asarray(values, dtype=float)[None])[0])


def interquartile_interval(differences: Sequence[float], *, level: float, seed: int) -> Interval:
    """Return a BCa bootstrap interval for the interquartile mean of independent differences,
    widened as the mean's is.

    For its a, a value's influence on the statistic is the deviation from their mean after the cut
    values were moved to the nearest kept one (Huber 1981, section 3.3). Arguments as for the
    mean's.
    """
    x = np.asarray(differences, dtype=float)
    kept = _kept(np.sort(x))
    moved = np.clip(x, kept[0], kept[-1])
    return _bca(x, _interquartile_means, moved - np.mean(moved), level=level, seed=seed)


def share_interval(share: float, n: int, *, level: float) -> Interval:
    """Return Wilson's interval for a share of n trials, in [0, 1]; half a success (a tie) is
    allowed.

    >>> interval = share_interval(0.5, 10, level=0.95)
    >>> round(interval.low, 4), round(interval.high, 4)
    (0.2366, 0.7634)
    """
    z = NORMAL.inv_cdf((1 + level) / 2)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # exactly there, which rounding misses
    low, high = 0.0 if share == 0 else centre - half, 1.0 if share == 1 else centre + half
    return Interval(low=low, high=high, level=level, method="Wilson")


def signed_rank_p(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test, counted over all 2^n ways to set
    the signs.

    W+ is the sum of the positive differences' ranks by size. The chances of each sum follow by
    adding one rank after the other; ties share their mean rank, so twice the ranks are whole
    numbers. Beyond 400 pairs the normal approximation is as good.

    >>> signed_rank_p([0.2, 0.1, 0.3, 0.3, 0.2, 0.5])
    0.03125
    """
    x = np.asarray(differences, dtype=float)
    doubled = (2 * ranks(np.abs(x))).astype(int)
    signed, observed = doubled[x != 0], doubled[x > 0].sum()
    if len(signed) > 400:
        z = (2 * observed - signed.sum()) / math.sqrt(np.sum(signed.astype(float) ** 2))
        return 2 * NORMAL.cdf(-abs(z))
    chances = _sign_flips(signed)
    return float(min(1.0, 2 * min(chances[: observed + 1].sum(), chances[observed:].sum())))


def ranks(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return each value's rank, 1 the lowest; equal values share the mean of theirs.

    >>> ranks([0.3, 0.1, 0.3, 0.2]).tolist()
    [3.5, 1.0, 3.5, 2.0]
    """
    _, place, n_equal = np.unique(
        np.asarray(values, dtype=float), return_inverse=True, return_counts=True
    )
    shared: np.ndarray = np.cumsum(n_equal) - (n_equal - 1) / 2
    return shared[place]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted so that rejecting those up to alpha errs once or more with
    probability alpha at most.

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
    """Return the chance that one value exceeds one of the others, over all pairs of both, ties
    counted half (Agarwal et al. 2021).

    >>> probability_of_improvement([3, 1], [2, 1])
    0.625
    """
    ordered = np.sort(others)
    below = np.searchsorted(ordered, values, side="left") + np.searchsorted(
        ordered, values, side="right"
    )
    return float(below.mean() / (2 * len(ordered)))


def fewest_pairs(alpha: float) -> int:
    """Return the fewest pairs that can decide at all: n differences of one sign happen by chance
    with probability 2^(1 - n).

    >>> fewest_pairs(0.05), fewest_pairs(0.025)
    (6, 7)
    """
    return math.ceil(1 - math.log2(alpha))


def attained_level(n: int, alpha: float) -> float:
    """Return the chance that the signed-rank test of n untied differences without a centre other
    than 0 gives p of at most alpha.

    >>> attained_level(6, 0.05), attained_level(7, 0.05)
    (0.03125, 0.046875)
    """
    if n > 50:
        return alpha
    tail = 2 * np.cumsum(_sign_flips(np.arange(1, n + 1)))
    return float(max(tail[tail <= alpha], default=0.0))


def _sign_flips(sizes: np.ndarray) -> np.ndarray:
    """Return the chance of each sum, from 0, of the ranks whose sign is positive; every sign is as
    likely as its opposite.
    """
    chances = np.zeros(sizes.sum() + 1)
    chances[0] = 1.0
    for rank in sizes:
        chances /= 2
        chances[rank:] = chances[rank:] + chances[:-rank]
    return chances


def _bca(
    x: np.ndarray, statistic: Statistic, influence: np.ndarray, *, level: float, seed: int
) -> Interval:
    # scipy is loaded when something is computed: a process that only shows stored comparisons stays
    # small
    from scipy.special import stdtrit  # type: ignore[import-untyped]  # scipy ships no types

    n, value = len(x), float(statistic(x[None])[0])
    if np.ptp(x) <= 1e-12 * np.max(np.abs(x)):
        return Interval(
            low=value,
            high=value,
            level=level,
            method="no width: every pair differs by the same amount",
        )
    resampled = _resampled(x, statistic, seed)
    below = float(np.mean(resampled < value) + np.mean(resampled <= value)) / 2
    z0 = NORMAL.inv_cdf(min(max(below, 0.5 / N_RESAMPLES), 1 - 0.5 / N_RESAMPLES))
    u = influence / (np.max(np.abs(influence)) or 1.0)
    a = np.sum(u**3) / (6 * np.sum(u**2) ** 1.5) if u.any() else 0.0
    z = z0 + math.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 + level) / 2) * np.array([-1, 1])
    # where 1 - a z falls to 0 the end lies at infinity: beyond it the formula would come back from
    # the other side
    shares = [NORMAL.cdf(z0 + end / (1 - a * end)) if a * end < 1 else float(end > 0) for end in z]
    low, high = (float(end) for end in np.quantile(resampled, shares))
    if low == high:
        return Interval(
            low=low,
            high=high,
            level=level,
            method="no width: too many pairs are tied for the resamples to differ",
        )
    method = f"BCa bootstrap, {N_RESAMPLES} resamples, widened for {n} pairs"
    ends = (low, high)
    if NORMAL.cdf(z[0] - z0) < 1 / N_RESAMPLES:
        student = value + (z - z0) * np.std(resampled)
        ends = (min(low, student[0]), max(high, student[1]))
        method += "; Student's where that is wider"
    return Interval(low=float(ends[0]), high=float(ends[1]), level=level, method=method)


def _means(rows: np.ndarray) -> np.ndarray:
    means: np.ndarray = rows.mean(axis=1)
    return means


def _interquartile_means(rows: np.ndarray) -> np.ndarray:
    return _means(_kept(np.sort(rows, axis=-1)))


def _kept(ordered: np.ndarray) -> np.ndarray:
    n_cut = ordered.shape[-1] // 4
    return ordered[..., n_cut : ordered.shape[-1] - n_cut]


def _resampled(x: np.ndarray, statistic: Statistic, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    sizes = [min(BATCH, N_RESAMPLES - start) for start in range(0, N_RESAMPLES, BATCH)]
    return np.concatenate([statistic(x[rng.integers(0, len(x), (size, len(x)))]) for size in sizes])
