"""Noise whose successive draws cancel."""

from dataclasses import dataclass

import numpy as np

from gradnoise._processes.process import NoiseProcess, Table
from gradnoise._processes.schedules import ConstantStd


def anticorrelated(std: float) -> NoiseProcess:
    """Return g_t <- g_t + std (xi_t - xi_{t-1}), xi_t ~ N(0, I), xi_{-1} = 0.

    Anti-PGD of Orvieto et al. 2022, arXiv:2202.02831, applied to the gradient. Anti-PGD itself
    perturbs the step: w_{t+1} = w_t - lr g_t + (xi_{t+1} - xi_t). Under plain SGD at a constant
    learning rate the two are the same, with perturbations of standard deviation lr std: the noise
    of T updates telescopes to a single draw, w_T = w_0 - lr sum_t g_t - lr std xi_{T-1}. With
    momentum, an adaptive optimizer or a changing learning rate it does not telescope.

    No state is kept between updates: xi_{t-1} is drawn again.

    Args:
        std: Standard deviation of xi, in gradient units; at least 0. From the second update on, the
            standard deviation of the noise is sqrt(2) std.

    Raises:
        TypeError: If std is no number.
        ValueError: If std is negative or not finite.

    >>> anticorrelated(std=0.1).terms(0), anticorrelated(std=0.1).terms(7)
    (((0, 0.1),), ((7, 0.1), (6, -0.1)))
    """
    return NoiseProcess(terms=AnticorrelatedTerms(ConstantStd(std).std))


@dataclass(frozen=True)
class AnticorrelatedTerms:
    """The terms std xi_t - std xi_{t-1}, without the second at t = 0."""

    std: float

    def __call__(self, t: int) -> tuple[tuple[int, float], ...]:
        return ((t, self.std), (t - 1, -self.std)) if t > 0 else ((t, self.std),)

    def table(self, updates: range) -> Table:
        ts = np.arange(updates.start, updates.stop, dtype=np.int64)
        has_previous = ts > 0
        stds = np.full(len(ts), self.std)
        return (
            np.array([ts, np.where(has_previous, ts - 1, 0)]),
            np.array([stds, np.where(has_previous, -stds, 0.0)]),
        )
