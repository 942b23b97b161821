"""Power: the probability of each verdict for a number of pairs, and the pairs that a verdict needs.

A verdict requires the interval of the mean and the sign-flip test. For normal differences both
behave like Student's test (Hoeffding 1952), the sign-flip test at the level that n pairs can
attain: a whole number of the 2^n sign flips is extreme, so 6 pairs test at 3.1 % instead of 5 %.
`no_difference` needs the interval alone.
"""

import functools
import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from gradnoise_service.compare.sign_flips import attained_level
from gradnoise_service.domain.search import MOST_REPEATS
from gradnoise_service.domain.sequential import fewest_pairs
from gradnoise_service.domain.study import Verdict

MOST_PAIRS = 1_000_000
NORMAL = NormalDist()
N_NODES = 1_000
N_NODES_OF_TWO = 50
FINEST = 1e-9
"""The smallest standard deviation, as a share of the differences, that is computed with.

Below it the probabilities do not change and the arithmetic overflows.
"""
SMALL = 50
"""Up to this n the attained level is not monotone, so the power need not rise with n."""


def chances(
    n: int, difference: float, sd: float, *, smallest_difference: float, level: float
) -> dict[Verdict, float]:
    """Return the probability of each verdict on n pairs with normal differences.

    With S^2 ~ sd^2 chi^2_(n-1) / (n - 1) and the mean M ~ N(difference, sd^2 / n), let v = t S /
    sqrt(n) for Student's quantile t at the level, and w likewise at the attained level: `helps` is
    M > max(w, smallest_difference - v), `hurts` its mirror image, `no_difference` is |M| <
    smallest_difference - v. The mean over S is taken at the midpoints of 1,000 equally likely
    parts. Where the test requires that all differences have the same sign, as with 6 pairs at a
    level of 95 %, `helps` has at most the probability Phi(difference / sd)^n, `hurts` likewise.

    Args:
        n: Pairs; below the fewest for a verdict, all is `undecided`.
        difference: True mean of the gains, in the metric's units.
        sd: True standard deviation of the gains, above 0, in the metric's units.
        smallest_difference: The smallest difference that matters, above 0.
        level: Confidence level, in (0, 1).
    """
    if n < fewest_pairs(1 - level):
        return {"helps": 0.0, "hurts": 0.0, "no_difference": 0.0, "undecided": 1.0}
    w, v = _half_widths(n, attained_level(n, 1 - level)), _half_widths(n, 1 - level)
    found = _chances(difference, smallest_difference, sd / math.sqrt(n), w, v)
    if attained_level(n, 1 - level) > 2 ** (1 - n):
        return found
    # the test requires that all differences have the same sign
    effect = difference / max(sd, FINEST * max(abs(difference), smallest_difference))
    helps = min(found["helps"], NORMAL.cdf(effect) ** n)
    hurts = min(found["hurts"], NORMAL.cdf(-effect) ** n)
    same = found["no_difference"]
    return {
        "helps": helps,
        "hurts": hurts,
        "no_difference": same,
        "undecided": 1 - helps - hurts - same,
    }


def chances_of_searches(
    n: int, difference: float, sd: float, *, smallest_difference: float, level: float
) -> dict[Verdict, float]:
    """Return the probability of each verdict on n searches of each arm with normal means.

    As `chances`, with Welch's half-width v for the variances S^2 ~ sd^2 chi^2_(n-1) / (n - 1) of
    both arms. From the fewest searches for sign flips on, w is Student's for n differences at the
    attained level where that is wider; below, w = v. The mean over both S is taken at the midpoints
    of 50 equally likely parts each.

    Args:
        n: Searches of each arm, at least 2.
        difference: True mean of the gains, in the metric's units.
        sd: True standard deviation of the mean of a search of either arm, above 0, in the metric's
            units.
        smallest_difference: The smallest difference that matters, above 0.
        level: Confidence level, in (0, 1).
    """
    w, v = _half_widths_of_searches(n, 1 - level)
    return _chances(difference, smallest_difference, sd * math.sqrt(2 / n), w, v)


def largest_sd(
    n: int,
    difference: float,
    *,
    smallest_difference: float,
    level: float,
    power: float = 0.8,
    chances: Callable[..., dict[Verdict, float]] = chances_of_searches,
) -> float | None:
    """Return the largest sd with which a gain is detected; None if there is none.

    `helps` then has at least the probability `power`. Arguments as for `chances_of_searches`, or
    for the function `chances`.
    """

    def detects(sd: float) -> bool:
        found = chances(n, difference, sd, smallest_difference=smallest_difference, level=level)
        return found["helps"] >= power

    low, high = 1e-6 * difference, 10 * math.sqrt(n) * difference
    if not detects(low):
        return None
    while high > 1.001 * low:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if detects(middle) else (low, middle)
    return low


def searches_to_decide(
    n: int, difference: float, sd: float, *, smallest_difference: float, level: float
) -> int | None:
    """Return the fewest searches above n that lead to any verdict with probability 0.8.

    Difference and sd (above 0) are assumed to be the true ones. None if the most that a study can
    have are too few.
    """
    for more in range(n + 1, MOST_REPEATS + 1):
        found = chances_of_searches(
            more, difference, sd, smallest_difference=smallest_difference, level=level
        )
        if found["undecided"] <= 0.2:
            return more
    return None


def pairs_for(smallest_difference: float, sd: float, power: float, level: float) -> int:
    """Return the fewest pairs with which a gain of the smallest difference is detected.

    `helps` then has at least the probability `power`. For any number of pairs, (1 - level) / 2 of
    the intervals lie entirely below the true gain and end in `no_difference`, so a power of 97.5 %
    is out of reach at a level of 95 %.

    Args:
        smallest_difference: The gain to detect, in the metric's units, above 0.
        sd: Standard deviation of the paired differences, in the metric's units, above 0.
        power: Probability of detection, above 0 and below (1 + level) / 2.
        level: Confidence level of the verdict, in (0, 1).

    Raises:
        ValueError: If an argument is out of range, or a million pairs are too few.

    >>> pairs_for(0.05, 0.05, 0.8, 0.95), pairs_for(0.05, 0.1, 0.8, 0.95)
    (11, 34)
    """
    for name, value in (("smallest_difference", smallest_difference), ("sd", sd)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be above 0 and finite, but got {name}={value:g}")
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), but got {level=:g}")
    if not 0 < power < (1 + level) / 2:
        raise ValueError(
            f"power must be above 0 and below {(1 + level) / 2:.4g}, which no number of pairs "
            f"reaches, but got {power=:g}"
        )

    def reaches(n: int) -> bool:
        return (
            chances(
                n, smallest_difference, sd, smallest_difference=smallest_difference, level=level
            )["helps"]
            >= power
        )

    n = fewest(reaches, fewest_pairs(1 - level))
    if n is None:
        raise ValueError(
            f"a difference of {smallest_difference:g} with a standard deviation of {sd:g} "
            f"requires more than {MOST_PAIRS:,} pairs: give a larger smallest_difference or a "
            "smaller sd"
        )
    return n


def pairs_to_decide(
    n: int,
    difference: float,
    sd: float,
    *,
    smallest_difference: float,
    level: float,
    power: float = 0.8,
) -> int | None:
    """Return the fewest pairs above n that lead to any verdict with probability `power`.

    Difference and sd (above 0) are assumed to be the true ones. None if a million are too few.
    """

    def decides(more: int) -> bool:
        return (
            chances(more, difference, sd, smallest_difference=smallest_difference, level=level)[
                "undecided"
            ]
            <= 1 - power
        )

    return fewest(decides, max(n + 1, fewest_pairs(1 - level)))


@functools.lru_cache(maxsize=256)
def _half_widths(n: int, alpha: float) -> np.ndarray:
    """Return t S / sd at a two-sided error probability, at the midpoints of S."""
    # scipy is imported with the first computation: stored comparisons are shown without it
    from scipy.special import gammaincinv, stdtrit  # type: ignore[import-untyped]  # no types

    middles = (np.arange(N_NODES) + 0.5) / N_NODES
    spread = np.sqrt(2 * gammaincinv((n - 1) / 2, middles) / (n - 1))
    widths: np.ndarray = stdtrit(n - 1, 1 - alpha / 2) * spread
    return widths


@functools.lru_cache(maxsize=256)
def _half_widths_of_searches(n: int, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Return w and v in standard errors of the difference, at the midpoints of both S."""
    from scipy.special import gammaincinv, stdtrit

    middles = (np.arange(N_NODES_OF_TWO) + 0.5) / N_NODES_OF_TWO
    variances = 2 * gammaincinv((n - 1) / 2, middles) / (n - 1)
    one, other = np.meshgrid(variances, variances)
    degrees = (n - 1) * (one + other) ** 2 / (one**2 + other**2)
    error = np.sqrt((one + other) / 2)
    v = stdtrit(degrees, 1 - alpha / 2) * error
    if n < fewest_pairs(alpha):
        return v, v
    return np.maximum(v, stdtrit(n - 1, 1 - attained_level(n, alpha) / 2) * error), v


def _chances(
    difference: float, smallest_difference: float, error: float, w: np.ndarray, v: np.ndarray
) -> dict[Verdict, float]:
    """Return the mean probabilities over half-widths in units of the mean's standard error."""
    from scipy.special import ndtr

    error = max(error, FINEST * max(abs(difference), smallest_difference))
    effect, delta = difference / error, smallest_difference / error
    beyond, within = np.maximum(w, delta - v), np.maximum(delta - v, 0.0)
    helps, hurts = float(np.mean(ndtr(effect - beyond))), float(np.mean(ndtr(-effect - beyond)))
    same = float(np.mean(ndtr(within - effect) - ndtr(-within - effect)))
    return {
        "helps": helps,
        "hurts": hurts,
        "no_difference": same,
        "undecided": max(0.0, 1 - helps - hurts - same),
    }


def fewest(suffices: Callable[[int], bool], start: int) -> int | None:
    """Return the first number from `start` that suffices; None beyond a million.

    From 50 on a number above one that suffices is assumed to suffice.
    """
    for n in range(start, SMALL):
        if suffices(n):
            return n
    low, high = max(start, SMALL) - 1, max(start, SMALL)
    while not suffices(high):
        low, high = high, 2 * high
        if low >= MOST_PAIRS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high
