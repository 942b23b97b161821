"""The noise process: which noise an update adds to the gradients."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from gradnoise._processes.schedules import Schedule

Terms = Callable[[int], Sequence[tuple[int, float]]]
"""The noise of update t as pairs (t', std): the sum of std * N_t' over the pairs, where N_t' are
standard normal draws that depend only on t'.
"""


class Preconditioner(Protocol):
    """A factor for the noise of each coordinate, computed from a state.

    The state is one float32 tensor per parameter, initially 0. The caller stores it.
    """

    def update_(self, state: torch.Tensor, gradient: torch.Tensor) -> None:
        """Update the state in place from a gradient without noise."""

    def scale(self, state: torch.Tensor) -> torch.Tensor:
        """Return the factor of each coordinate's noise."""


@dataclass(frozen=True, kw_only=True)
class NoiseProcess:
    """Noise on gradients: g_t <- g_t + sum of std * N_t' over the pairs (t', std) of terms(t).

    Every N_t' is a tensor of independent standard normal draws. Two processes are equal if their
    fields are equal. A process can be pickled if its fields can.

    Args:
        terms: A function from the update count t, at least 0, to pairs (t', std): t', at least 0,
            selects the draws N_t', and std is their standard deviation, in gradient units.
        preconditioner: Multiplies the sum coordinate by coordinate; None: the sum is not scaled.

    Noise that returns once, at half its size:

    >>> NoiseProcess(terms=lambda t: [(t, 0.1), (t - 1, 0.05)] if t else [(t, 0.1)]).terms(7)
    [(7, 0.1), (6, 0.05)]
    """

    terms: Terms
    preconditioner: Preconditioner | None = None

    @classmethod
    def of(cls, schedule: Schedule) -> "NoiseProcess":
        """Return g_t <- g_t + std_t * N_t with std_t = schedule(t), independent at every update.

        Args:
            schedule: A function from t, at least 0, to the standard deviation, in gradient units;
                at least 0 and finite.

        Raises:
            TypeError: If the schedule is not callable.

        >>> NoiseProcess.of(lambda t: 0.1 / (1 + t)).terms(4)
        ((4, 0.02),)
        """
        if not callable(schedule):
            raise TypeError(
                "schedule must be a function from the update count t to a standard deviation, but "
                f"got {schedule!r}; for constant noise pass constant(std)."
            )
        return cls(terms=IndependentTerms(schedule))

    def std(self, t: int) -> float:
        """Return the standard deviation of the noise of update t, before the preconditioner.

        The draws are independent, so it is the root of the sum of squares.

        >>> NoiseProcess(terms=lambda t: [(t, 0.3), (t - 1, -0.4)]).std(7)
        0.5
        """
        return math.hypot(*(std for _, std in self.terms(t)))


@dataclass(frozen=True)
class IndependentTerms:
    """The terms of noise that is independent at every update: the single pair (t, schedule(t))."""

    schedule: Schedule

    def __call__(self, t: int) -> tuple[tuple[int, float]]:
        """Return ((t, schedule(t)),).

        Raises:
            ValueError: If the schedule returns a negative or non-finite standard deviation.
        """
        std = float(self.schedule(t))
        if not 0 <= std < math.inf:
            raise ValueError(
                "the schedule must return a standard deviation of at least 0 and finite, but "
                f"returned {std} at {t=}."
            )
        return ((t, std),)
