"""Schedules: functions from the update count t to a standard deviation.

Notation: eta is a variance, gamma a decay exponent, t the number of optimizer updates done so far,
0 at the first update.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

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
        return self.of_updates(range(t, t + 1))[0]

    def of_updates(self, updates: range) -> list[float]:
        """Return the standard deviation of each of these updates."""
        root, power = math.sqrt(self.eta), -self.gamma / 2
        return [root * (1.0 + t) ** power for t in updates]


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

    def of_updates(self, updates: range) -> list[float]:
        """Return the standard deviation of each of these updates."""
        return [self.std] * len(updates)
