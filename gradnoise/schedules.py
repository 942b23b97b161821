"""Schedules: functions from the update count t to the standard deviation of the noise, in gradient
units.

Notation: eta is a variance, gamma a decay exponent, t the number of optimizer updates done so far,
    0 at the first.
"""

import math
from collections.abc import Callable

Schedule = Callable[[int], float]
"""A function from the update count t, 0 at the first update, to the standard deviation of the
noise, in gradient units.
"""


def annealed(eta: float, gamma: float) -> Schedule:
    """Return the annealed schedule std_t = sqrt(eta / (1 + t) ** gamma) (Neelakantan et al. 2015,
    arXiv:1511.06807).

    Args:
        eta: Variance of the noise at step 0, in squared gradient units; at least 0.
        gamma: Decay exponent, dimensionless; at least 0. The paper uses 0.55.

    Returns:
        A function from the update count t (0 at the first update) to the standard deviation, in
        gradient units.

    Raises:
        ValueError: If eta or gamma is negative or not finite.

    >>> std = annealed(eta=0.01, gamma=0.55)
    >>> round(std(0), 4), round(std(99), 4)
    (0.1, 0.0282)
    """
    if not 0 <= eta < math.inf:
        raise ValueError(f"eta must be at least 0 and finite, but got {eta=}.")
    if not 0 <= gamma < math.inf:
        raise ValueError(f"gamma must be at least 0 and finite, but got {gamma=}.")
    return lambda t: math.sqrt(eta) * (1.0 + t) ** (-gamma / 2)


def constant(std: float) -> Schedule:
    """Return the schedule std_t = std, the fixed noise that annealing is held against (Neelakantan
    et al. 2016, openreview rkjZ2Pcxe).

    Args:
        std: Standard deviation at every update, in gradient units; at least 0.

    Returns:
        A function from the update count t to that standard deviation.

    Raises:
        ValueError: If std is negative or not finite.

    >>> constant(0.1)(1_000)
    0.1
    """
    if not 0 <= std < math.inf:
        raise ValueError(f"std must be at least 0 and finite, but got {std=}.")
    return lambda _t: std
