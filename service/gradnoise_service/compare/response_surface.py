"""A quadratic response surface of an arm's search trials, with its uncertainty.

A Bayesian linear regression (Bishop 2006, section 3.5): values = mean + (F - mean of F) w + noise,
with the features F of `Coding`, coefficients w ~ N(0, tau^2 I) and noise ~ N(0, sigma^2 I). tau and
sigma are weighted by their marginal likelihood over a grid, so a surface that the trials do not
determine stays uncertain instead of flat.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gradnoise_service.domain.space import Choices, Range, SpaceEntry, Value, is_number

TAUS = 10.0 ** np.linspace(-1, 1, 9)
"""Standard deviations of the coefficients, in standard deviations of the values."""
SIGMAS = 2.0 ** np.arange(0, 5, 0.5)
"""Standard deviations of the noise, in those of the seeds: the surface may not fit."""
FINEST = 1e-3
"""The smallest standard deviation of seeds that is computed with, in those of the values."""
COARSEST = 1e6
"""The largest one, in the largest deviation of a value from the mean."""


class Coding:
    """Settings as rows of features: quadratic in ranges, an indicator for each further choice.

    A range is scaled to -1 to 1 on its sampling scale, logarithmic where it is searched so.

    Args:
        space: The searched entries of an arm's space.
    """

    def __init__(self, space: Mapping[str, SpaceEntry]) -> None:
        self._ranges = {name: e for name, e in space.items() if isinstance(e, Range)}
        self._choices = {name: e for name, e in space.items() if isinstance(e, Choices)}

    @property
    def n_features(self) -> int:
        """The number of coefficients, without the mean."""
        n = len(self._ranges)
        return n + n * (n + 1) // 2 + sum(len(e.choices) - 1 for e in self._choices.values())

    def of(self, settings: Sequence[Mapping[str, Value]]) -> np.ndarray:
        """Return the features of settings, [settings, features]."""
        scaled = [
            [_scaled(entry, setting[name]) for setting in settings]
            for name, entry in self._ranges.items()
        ]
        chosen = [
            np.array([entry.choices.index(setting[name]) for setting in settings])
            for name, entry in self._choices.items()
        ]
        return self._features(np.array(scaled).reshape(-1, len(settings)).T, chosen)

    def drawn(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Return the features of n settings drawn at random, uniform on the sampling scale."""
        scaled = [_draw(rng, entry, n) for entry in self._ranges.values()]
        chosen = [rng.integers(len(entry.choices), size=n) for entry in self._choices.values()]
        return self._features(np.array(scaled).reshape(-1, n).T, chosen)

    def _features(self, scaled: np.ndarray, chosen: Sequence[np.ndarray]) -> np.ndarray:
        one, other = np.triu_indices(scaled.shape[1])
        indicators = (
            index[:, None] == np.arange(1, len(entry.choices))
            for entry, index in zip(self._choices.values(), chosen, strict=True)
        )
        return np.hstack([scaled, scaled[:, one] * scaled[:, other], *indicators])


@dataclass(frozen=True, kw_only=True)
class Surfaces:
    """Surfaces drawn from the posterior: `values` = mean + (features - centre) coefficients."""

    mean: float
    centre: np.ndarray
    coefficients: np.ndarray

    def values(self, features: np.ndarray) -> np.ndarray:
        """Return the value of each setting on each surface, [surfaces, settings]."""
        found: np.ndarray = self.mean + self.coefficients @ (features - self.centre).T
        return found


def surfaces(
    rng: np.random.Generator, features: np.ndarray, values: np.ndarray, *, seed_sd: float, n: int
) -> Surfaces:
    """Return n surfaces drawn from the posterior given the values of settings.

    Args:
        rng: Draws the surfaces.
        features: Of the settings, [settings, features].
        values: Their values, not all equal.
        seed_sd: Standard deviation of a setting's values over seeds, at least 0.
        n: Number of surfaces, at least 1.
    """
    centre, mean = features.mean(axis=0), float(values.mean())
    # in units of the largest deviation, squares of tiny values do not underflow
    unit = float(np.abs(values - mean).max())
    y = (values - mean) / unit
    u, s, v = np.linalg.svd(features - centre, full_matrices=False)
    determined = s > 1e-9 * s[0]
    u, s, v = u[:, determined], s[determined], v[determined]
    along = u.T @ y
    noise_sd = np.clip(seed_sd / unit, FINEST * y.std(), COARSEST)
    grid = np.meshgrid(TAUS * y.std(), SIGMAS * noise_sd)
    prior, noise = (deviations.reshape(-1, 1) ** 2 for deviations in grid)
    # the marginal likelihood in the basis of the singular vectors, up to a constant
    total = prior * s**2 + noise
    residual = max(float((y**2).sum() - (along**2).sum()), 0.0)
    n_residual = len(values) - 1 - len(s)
    log_likelihood = -0.5 * (
        (np.log(total) + along**2 / total).sum(axis=1)
        + (n_residual * np.log(noise) + residual / noise)[:, 0]
    )
    weights = np.exp(log_likelihood - log_likelihood.max())
    at = rng.choice(len(weights), size=n, p=weights / weights.sum())
    precision = s**2 / noise[at] + 1 / prior[at]
    determined_part = s * along / noise[at] / precision
    determined_part += rng.standard_normal((n, len(s))) / np.sqrt(precision)
    # directions that the trials do not determine keep their prior
    free = np.sqrt(prior[at]) * rng.standard_normal((n, features.shape[1]))
    coefficients = unit * (free + (determined_part - free @ v.T) @ v)
    return Surfaces(mean=mean, centre=centre, coefficients=coefficients)


def _scaled(entry: Range, value: Value) -> float:
    assert is_number(value)
    scale = math.log if entry.log else float
    low, high, at = (scale(x) for x in (entry.low, entry.high, value))
    return 2 * (at - low) / (high - low) - 1


def _draw(rng: np.random.Generator, entry: Range, n: int) -> np.ndarray:
    if entry.n_points is None:
        return rng.uniform(-1, 1, n)
    return 2 * rng.integers(entry.n_points, size=n) / (entry.n_points - 1) - 1
