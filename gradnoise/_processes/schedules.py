"""Schedules: functions from the update count t to a standard deviation.

Notation: eta is a variance, gamma a decay exponent, t the number of optimizer updates done so far,
0 at the first update.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import numpy.typing as npt

from gradnoise._processes.numbers import number

Schedule = Callable[..., float]
"""A function from the update count t, 0 at the first update, to the standard deviation of the
noise. A function that has a parameter `norm` also gets the global norm of the gradient.
"""


@dataclass(frozen=True)
class AnnealedStd:
    """The schedule std_t = sqrt(eta / (1 + t)^gamma) of Neelakantan et al. 2015, arXiv:1511.06807.

    Args:
        eta: Variance of the noise at t = 0; at least 0.
        gamma: Decay exponent, dimensionless; at least 0. The paper uses 0.55.

    Raises:
        TypeError: If eta or gamma is no number.
        ValueError: If eta or gamma is negative or not finite.

    >>> std = AnnealedStd(eta=0.01, gamma=0.55)
    >>> round(std(0), 4), round(std(99), 4)
    (0.1, 0.0282)
    """

    eta: float
    gamma: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "eta", number("eta", self.eta))
        object.__setattr__(self, "gamma", number("gamma", self.gamma))

    def __call__(self, t: int) -> float:
        decay: float = (1.0 + t) ** (-self.gamma / 2)
        return math.sqrt(self.eta) * decay

    def of_updates(self, updates: range) -> npt.NDArray[np.float64]:
        """Return the standard deviation of each of these updates."""
        # numpy's power may differ from C's in the last bit
        powers = map(math.pow, _counts(updates), repeat(-self.gamma / 2))
        return math.sqrt(self.eta) * np.fromiter(powers, dtype=np.float64, count=len(updates))


@dataclass(frozen=True)
class ConstantStd:
    """The schedule std_t = std: the fixed noise of Neelakantan et al. 2016, openreview rkjZ2Pcxe.

    Args:
        std: Standard deviation at every update; at least 0.

    Raises:
        TypeError: If std is no number.
        ValueError: If std is negative or not finite.

    >>> ConstantStd(0.1)(1_000)
    0.1
    """

    std: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "std", number("std", self.std))

    def __call__(self, t: int) -> float:
        return self.std

    def of_updates(self, updates: range) -> npt.NDArray[np.float64]:
        """Return the standard deviation of each of these updates."""
        return np.full(len(updates), self.std)


@functools.lru_cache(maxsize=16)
def _counts(updates: range) -> list[float]:
    return [1.0 + t for t in updates]
