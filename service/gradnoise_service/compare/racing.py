"""Racing: which of several settings, run on the same seeds, are still worth another seed."""

from collections.abc import Sequence

RACE_ALPHA = 0.1
"""Error probability of a setting's comparisons with the leader, over a whole race."""
FEWEST_SEEDS = 2
"""Seeds before the first decision: one seed shows no variance."""
ROUNDING = 1e-12
"""Means that differ by less than this share are equal up to rounding."""


def survivors(values: Sequence[Sequence[float]], *, alpha: float) -> list[int]:
    """Return the settings that are not clearly worse than the one with the best mean.

    A setting is dropped if its mean is more than t s sqrt(2 / n) below the best one: the one-sided
    paired t-test with the residual variance s^2 of settings and seeds, (k - 1)(n - 1) degrees of
    freedom, pooled over the settings (Maron and Moore 1997; Birattari et al. 2002).

    Args:
        values: By setting, of equally many seeds, at least 2; larger is better.
        alpha: Level of each comparison, in (0, 1/2).

    >>> survivors([[0.90, 0.91], [0.89, 0.92], [0.60, 0.62]], alpha=0.1)
    [0, 1]
    """
    # imported with the first race: stored comparisons are shown without numpy and scipy
    import numpy as np
    from scipy.special import stdtrit  # type: ignore[import-untyped]  # scipy ships no types

    x = np.asarray(values, dtype=float)
    k, n = x.shape
    if k == 1:
        return [0]
    means = x.mean(axis=1)
    residuals = x - means[:, None] - x.mean(axis=0) + x.mean()
    degrees = (k - 1) * (n - 1)
    s = np.sqrt(np.sum(residuals**2) / degrees)
    reach = stdtrit(degrees, 1 - alpha) * s * np.sqrt(2 / n) + ROUNDING * np.max(np.abs(x))
    return np.flatnonzero(means.max() - means <= reach).tolist()
