"""The test of a verdict: sign flips of the mean difference (Fisher 1935, section 21).

If two arms are equal, swapping them within a pair changes nothing, so either sign of a difference
is equally likely. The share of sign flips with a mean at least as far from 0 is therefore an exact
p-value for any distribution, with ties and gaps. The bootstrap interval is not exact, so a verdict
needs both.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOST_FLIPPED = 20
"""Differences other than 0 up to which all sign flips are computed."""
N_RESAMPLES = 99_999
ROUNDING = 1e-12
"""Sums that differ by less than this share of the sum of sizes are equal up to rounding."""


@dataclass(frozen=True)
class SignFlipTest:
    """The two-sided p-value, with the standard error of its resampling; 0 if it is exact."""

    p: float
    error: float = 0.0


def sign_flip_test(differences: Sequence[float], *, seed: int) -> SignFlipTest:
    """Return the p-value of the mean of paired differences, over their sign flips.

    With up to 20 differences other than 0, p is the share of all 2^n sign flips whose sum is at
    least as far from 0 as the observed one. With more, it is (1 + k) / (1 + m) with k of m = 99,999
    random sign flips, which keeps the level for any m (Phipson and Smyth 2010).

    Args:
        differences: At least 1 finite number.
        seed: Seed of the random sign flips; equal seeds give equal p-values.

    >>> sign_flip_test([0.2, 0.1, 0.3, 0.3, 0.2, 0.5], seed=1)
    SignFlipTest(p=0.03125, error=0.0)
    """
    x = np.asarray(differences, dtype=float)
    sizes = np.abs(x[x != 0])
    least = abs(float(x.sum())) - ROUNDING * float(sizes.sum())
    if least <= 0:
        return SignFlipTest(p=1.0)
    if len(sizes) <= MOST_FLIPPED:
        return SignFlipTest(p=float(np.mean(np.abs(_all_sums(sizes)) >= least)))
    n_extreme = int(np.sum(np.abs(_random_sums(sizes, seed)) >= least))
    p = (1 + n_extreme) / (1 + N_RESAMPLES)
    return SignFlipTest(p=p, error=math.sqrt(p * (1 - p) / N_RESAMPLES))


def attained_level(n: int, alpha: float) -> float:
    """Return the probability that the test rejects n different, centred differences.

    A whole number of pairs of opposite sign flips is extreme: floor(alpha 2^(n-1)) / 2^(n-1).

    >>> attained_level(6, 0.05), attained_level(7, 0.05)
    (0.03125, 0.046875)
    """
    # beyond 50 differences the level is alpha up to the rounding of floats
    return alpha if n > 50 else math.floor(alpha * 2 ** (n - 1)) / 2 ** (n - 1)


def _all_sums(sizes: np.ndarray) -> np.ndarray:
    """Return the sums of all sign flips that leave the first sign; the others are their negatives.
    """
    sums = sizes[:1]
    for size in sizes[1:]:
        sums = np.concatenate([sums + size, sums - size])
    return sums


def _random_sums(sizes: np.ndarray, seed: int) -> np.ndarray:
    n_bytes = -(-len(sizes) // 8)
    drawn = np.random.default_rng(seed).integers(
        0, 256, size=(N_RESAMPLES, n_bytes), dtype=np.uint8
    )
    is_positive = np.unpackbits(drawn, axis=1, count=len(sizes))
    sums: np.ndarray = 2.0 * (is_positive @ sizes) - sizes.sum()
    return sums
