"""The noise process: which noise an update adds to the gradients."""

import inspect
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from gradnoise._processes.schedules import Schedule

Terms = Callable[..., Sequence[tuple[int, float]]]
"""The noise of update t as pairs (t', std): the sum of std * N_t' over the pairs, where N_t' are
standard normal draws that depend only on t'. Called with t, or with t and the gradient's norm.
"""


Table = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]
"""The terms of successive updates: t' and std, [terms, updates] each; std is 0 where an update has
fewer terms.
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
        uses_norm: Whether terms is a function of t and of ||g||, the global norm of the gradient
            before its noise.

    Noise that returns once, at half its size:

    >>> NoiseProcess(terms=lambda t: [(t, 0.1), (t - 1, 0.05)] if t else [(t, 0.1)]).terms(7)
    [(7, 0.1), (6, 0.05)]
    """

    terms: Terms
    preconditioner: Preconditioner | None = None
    uses_norm: bool = False

    @classmethod
    def of(cls, schedule: Schedule) -> "NoiseProcess":
        """Return g_t <- g_t + std_t * N_t with std_t = schedule(t), independent at every update.

        Args:
            schedule: A function from t, at least 0, to the standard deviation, in gradient units;
                at least 0 and finite. If it has a parameter `norm`, it also gets ||g||, the global
                L2 norm of the gradient that the optimizer receives, before the noise.

        Raises:
            TypeError: If the schedule is not callable.

        >>> NoiseProcess.of(lambda t: 0.1 / (1 + t)).terms(4)
        ((4, 0.02),)
        >>> NoiseProcess.of(lambda t, norm: 0.1 * norm / (1 + t)).std(4, norm=2.0)
        0.04
        """
        if not callable(schedule):
            raise TypeError(
                "schedule must be a function from the update count t to a standard deviation, but "
                f"got {schedule!r}; for constant noise pass constant(std)."
            )
        uses_norm = _has_norm(schedule)
        return cls(terms=IndependentTerms(schedule, uses_norm), uses_norm=uses_norm)

    def std(self, t: int, norm: float | None = None) -> float:
        """Return the standard deviation of the noise of update t, before the preconditioner.

        The draws are independent, so it is the root of the sum of squares.

        Args:
            t: Update count.
            norm: ||g||, if the process uses it.

        >>> NoiseProcess(terms=lambda t: [(t, 0.3), (t - 1, -0.4)]).std(7)
        0.5
        """
        return math.hypot(*(std for _, std in self.checked_terms(t, norm)))

    def checked_terms(self, t: int, norm: float | None = None) -> list[tuple[int, float]]:
        """Return the terms of update t as numbers.

        Raises:
            TypeError: If terms does not return pairs of numbers.
            ValueError: If a t' is negative or a std is not finite.
        """
        terms = self.terms(t, norm) if self.uses_norm else self.terms(t)
        try:
            found = [(operator.index(drawn), float(std)) for drawn, std in terms]
        except (TypeError, ValueError):
            raise TypeError(
                f"terms must return pairs (t', std) of numbers, but returned {terms!r} at {t=}."
            ) from None
        for drawn, std in found:
            if drawn < 0 or not math.isfinite(std):
                raise ValueError(
                    "terms must return pairs (t', std) with t' at least 0 and a finite std, but "
                    f"returned {(drawn, std)} at {t=}."
                )
        return found


@dataclass(frozen=True)
class IndependentTerms:
    """The terms of noise that is independent at every update: the single pair (t, schedule(t))."""

    schedule: Schedule
    uses_norm: bool = False

    def __call__(self, t: int, norm: float | None = None) -> tuple[tuple[int, float]]:
        """Return ((t, schedule(t)),), or ((t, schedule(t, norm=norm)),) if a norm is given.

        Raises:
            TypeError: If the schedule returns no number, or needs a norm that is not given.
            ValueError: If the schedule returns a negative or non-finite standard deviation.
        """
        if self.uses_norm and norm is None:
            raise TypeError(
                "the schedule has a parameter norm, which is known only to an optimizer with "
                "noise: it cannot be used where the noise is computed in advance, as in a study."
            )
        returned = self.schedule(t, norm=norm) if self.uses_norm else self.schedule(t)
        try:
            std = float(returned)
        except (TypeError, ValueError):
            raise TypeError(
                f"the schedule must return a number, but returned {returned!r} at {t=}."
            ) from None
        if not 0 <= std < math.inf:
            raise ValueError(
                "the schedule must return a standard deviation of at least 0 and finite, but "
                f"returned {std} at {t=}."
            )
        return ((t, std),)

    def table(self, updates: range) -> Table:
        of_updates = getattr(self.schedule, "of_updates", None)
        stds = [self(t)[0][1] for t in updates] if of_updates is None else of_updates(updates)
        ts = np.arange(updates.start, updates.stop, dtype=np.int64)
        return ts[None], np.asarray(stds, dtype=np.float64)[None]


def tabulate(terms: Terms, updates: range) -> Table:
    """Return the terms of successive updates, each a function of t alone.

    Terms that have a method `table` return them at once, to the last bit those of each update.
    """
    table: Callable[[range], Table] | None = getattr(terms, "table", None)
    if table is not None:
        return table(updates)
    found = [terms(t) for t in updates]
    shape = (max(map(len, found), default=0), len(updates))
    ts, stds = np.zeros(shape, dtype=np.int64), np.zeros(shape)
    for i, update in enumerate(found):
        for j, (t, std) in enumerate(update):
            ts[j, i], stds[j, i] = t, std
    return ts, stds


def _has_norm(schedule: Schedule) -> bool:
    try:
        return "norm" in inspect.signature(schedule).parameters
    except (TypeError, ValueError):  # a function of C has no signature
        return False
