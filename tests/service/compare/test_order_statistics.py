"""The bounds on the quantiles of order statistics hold simultaneously, and exactly."""

import math

import numpy as np
import pytest
from scipy.stats import beta, kstwo  # type: ignore[import-untyped]

from gradnoise_service.compare.order_statistics import coverage, quantile_bounds


@pytest.mark.parametrize(("n", "distance"), [(1, 0.6), (5, 0.3), (20, 0.29), (100, 0.1)])
def test_the_coverage_of_bounds_of_equal_width_is_kolmogorov_s(n: int, distance: float) -> None:
    """The i-th value lies within i / n - distance and (i - 1) / n + distance."""
    rank = np.arange(1, n + 1)
    low = np.clip(rank / n - distance, 0, 1)
    high = np.clip((rank - 1) / n + distance, 0, 1)
    assert coverage(low.tolist(), high.tolist()) == pytest.approx(kstwo(n).cdf(distance), rel=1e-9)


def test_the_coverage_of_two_values_is_an_area() -> None:
    """The smaller lies in [0.1, 0.4], the larger in [0.3, 0.8]: 2 (0.3 x 0.5 - 0.1^2 / 2)."""
    assert coverage([0.1, 0.3], [0.4, 0.8]) == pytest.approx(2 * (0.15 - 0.005))


@pytest.mark.parametrize("n", [1, 2, 24, 500])
@pytest.mark.parametrize("level", [0.95, 0.975])
def test_all_bounds_have_one_local_level_and_together_the_requested_one(
    n: int, level: float
) -> None:
    low, high = quantile_bounds(n, level)
    rank = np.arange(1, n + 1)
    tails = beta(rank, n + 1 - rank).cdf(low), beta(rank, n + 1 - rank).sf(high)
    assert np.concatenate(tails) == pytest.approx(tails[0][0], rel=1e-6)
    assert (1 - level) / n <= 2 * tails[0][0] * (1 + 1e-6)
    assert coverage(low, high) == pytest.approx(level, abs=1e-7)


def test_the_bounds_are_opda_s() -> None:
    """opda 0.8.0 simulates 10^6 samples of 5: `_ld_band_weights(5, 0.95, "equal_tailed", ...)`.

    Its coverage lies within five standard errors, sqrt(0.95 0.05 / 10^6), of the requested one.
    """
    low = (0.00123807, 0.02549552, 0.08916702, 0.19561182, 0.36151654)
    high = (0.63848346, 0.80438818, 0.91083298, 0.97450448, 0.99876193)
    error = 5 * math.sqrt(0.95 * 0.05 / 1e6)
    assert coverage(low, high) == pytest.approx(0.95, abs=error)
    ours = quantile_bounds(5, 0.95)
    # at most 5 % of the bounds fail, so their tails differ by at most error / 0.05
    assert ours[0] == pytest.approx(low, rel=error / 0.05)
    assert ours[1] == pytest.approx(high, rel=error / 0.05)


def test_simulated_values_lie_within_their_bounds_as_often_as_requested() -> None:
    n, n_samples, level = 24, 20_000, 0.95
    values = np.sort(np.random.default_rng(7).random((n_samples, n)), axis=1)
    low, high = quantile_bounds(n, level)
    share = np.mean(((values >= low) & (values <= high)).all(axis=1))
    assert share == pytest.approx(level, abs=5 * math.sqrt(level * (1 - level) / n_samples))
