"""The test of a verdict: sign flips of the mean difference (Fisher 1935, section 21).

If two arms are equal, swapping them within a pair changes nothing, so either sign of a difference
is equally likely. The share of sign flips with a mean at least as far from 0 is therefore an exact
p-value for any distribution, with ties and gaps. The bootstrap interval is not exact, so a verdict
needs both.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

NORMAL = NormalDist()
MOST_ENUMERATED = 20
"""Differences other than 0 up to which every sign flip is counted."""
MOST_COUNTED = 400
"""Differences up to which rounded sums are counted; beyond, the normal distribution is accurate."""
UNITS = 1_024
"""Where rounded sums are counted, differences are rounded to this part of their mean size."""
ROUNDING = 1e-12
"""Sums that differ by less than this share of the sum of sizes are equal up to rounding."""


def sign_flip_p(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of the mean of paired differences, over all 2^n sign flips.

    With up to 20 differences other than 0, every sum is counted. With up to 400, the probability
    of each sum of differences rounded to whole units follows by adding them successively (Pagano
    and Tritchler 1983); a sum counts as extreme if it can be extreme within the rounding, so p is
    never below the exact one, and above it by less than 2 % for sizes of one magnitude.

    Args:
        differences: At least 1 finite number.

    >>> sign_flip_p([0.2, 0.1, 0.3, 0.3, 0.2, 0.5])
    0.03125
    """
    x = np.asarray(differences, dtype=float)
    sizes, observed = np.abs(x[x != 0]), abs(float(x.sum()))
    least = observed - ROUNDING * float(sizes.sum())
    if least <= 0:
        return 1.0
    if len(sizes) <= MOST_ENUMERATED:
        return _enumerated_p(sizes, least)
    if len(sizes) > MOST_COUNTED:
        return 2 * NORMAL.cdf(-observed / math.sqrt(float(np.sum(sizes**2))))
    in_units = sizes * (UNITS / np.mean(sizes))
    rounded = np.rint(in_units).astype(int)
    fewest = observed * (UNITS / np.mean(sizes)) - float(np.abs(in_units - rounded).sum())
    positive = math.ceil((int(rounded.sum()) + fewest) / 2)
    return float(min(1.0, 2 * positive_sums(rounded)[positive:].sum()))


def positive_sums(sizes: np.ndarray) -> np.ndarray:
    """Return the probability of each sum, from 0, of the sizes with a positive sign.

    Args:
        sizes: Whole numbers of at least 0; each sign is positive with probability 1/2.
    """
    chances = np.zeros(sizes.sum() + 1)
    chances[0], n_reached = 1.0, 1
    for size in np.sort(sizes[sizes > 0]):
        half = chances[:n_reached] / 2
        chances[:n_reached] = half
        chances[size : size + n_reached] += half
        n_reached += size
    return chances


def attained_level(n: int, alpha: float) -> float:
    """Return the probability that the test rejects n centred differences without equal sums.

    The extreme sign flips come in opposite pairs: floor(alpha 2^(n-1)) / 2^(n-1).

    >>> attained_level(6, 0.05), attained_level(7, 0.05)
    (0.03125, 0.046875)
    """
    # beyond 50 differences the level is alpha up to the rounding of floats
    return alpha if n > 50 else math.floor(alpha * 2 ** (n - 1)) / 2 ** (n - 1)


def _enumerated_p(sizes: np.ndarray, least: float) -> float:
    """Return the share of sign flips with a sum of at least `least` > 0 in size.

    The sums of each half of the sizes are listed; a sorted list shows how many of its sums make a
    sum of the other half reach `least` (Horowitz and Sahni 1974).
    """
    middle = len(sizes) // 2
    one, other = _signed_sums(sizes[:middle]), np.sort(_signed_sums(sizes[middle:]))
    n_smaller = np.searchsorted(other, least - one)
    return float(2 * (1 - np.mean(n_smaller) / len(other)))


def _signed_sums(sizes: np.ndarray) -> np.ndarray:
    sums = np.zeros(1)
    for size in sizes:
        sums = np.concatenate([sums + size, sums - size])
    return sums
