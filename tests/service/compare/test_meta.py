"""Random-effects meta-analysis: published values, closed forms, and simulated error rates."""

import math
import re

import numpy as np
import pytest
from scipy import stats

from gradnoise_service.compare.meta import estimates, pool
from statistics_page import TEXT, documented

# Kacker, Metrologia 41 (2004): a measurement by nine laboratories, with its variances
LABORATORIES = [61.0, 61.4, 62.21, 62.3, 62.34, 62.6, 62.7, 62.84, 65.9]
VARIANCES = [0.2025, 1.21, 0.09, 0.2025, 0.3844, 0.5625, 0.0676, 0.0225, 1.8225]
N_SUITES = 20_000


def test_nine_laboratories_vary_as_published() -> None:
    """tau with equal weights is 1.1837 in table 1 of Kacker 2004."""
    found = pool(LABORATORIES, list(map(math.sqrt, VARIANCES)), level=0.95)
    assert found.tau == pytest.approx(1.1837, abs=5e-5)
    spread, within = np.var(LABORATORIES, ddof=1), np.mean(VARIANCES)
    assert found.i_squared == pytest.approx(1 - within / spread)
    assert found.mean == pytest.approx(np.mean(LABORATORIES))
    assert found.prediction is not None
    reach = stats.t.ppf(0.975, 7) * math.sqrt(1.1837**2 + spread / 9)
    assert found.prediction.high - found.mean == pytest.approx(reach, rel=1e-4)
    assert found.mean - found.prediction.low == pytest.approx(reach, rel=1e-4)


def test_the_interval_and_the_test_are_student_s_of_the_effects() -> None:
    effects = [0.4, 3.0, 1.2, -2.0, 2.2]
    found = pool(effects, [0.3, 0.1, 0.5, 0.0, 0.2], level=0.9)
    reference = stats.ttest_1samp(effects, 0)
    assert (found.mean, found.p_value) == pytest.approx((np.mean(effects), reference.pvalue))
    assert (found.interval.low, found.interval.high) == pytest.approx(
        tuple(reference.confidence_interval(0.9))
    )
    assert found.interval.method == "hartung_knapp"


def test_effects_that_agree_better_than_their_errors_do_not_shorten_the_interval() -> None:
    found = pool([1.0, 1.0, 1.0, 1.0], [0.2, 0.2, 0.2, 0.2], level=0.95)
    assert (found.tau, found.i_squared) == (0.0, 0.0)
    assert found.interval.high == pytest.approx(1 + 0.1 * stats.t.ppf(0.975, 3))


def test_two_effects_have_no_prediction_interval() -> None:
    """It would need Student's t with 0 degrees of freedom."""
    found = pool([1.0, 2.0], [0.1, 0.1], level=0.95)
    assert found.prediction is None
    assert found.interval.low == pytest.approx(1.5 - 0.5 * stats.t.ppf(0.975, 1))


def test_equal_effects_without_errors_show_no_precision() -> None:
    """Up to rounding."""
    third = 0.1 + 0.2
    found = pool([0.3, third, third], [0.0, 0.0, 0.0], level=0.95)
    assert (found.p_value, found.interval.method) == (1.0, "no_width_equal")
    assert found.interval.low == found.interval.high == pytest.approx(0.3)


@pytest.mark.parametrize("degrees", [11, 4])
@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("k", [3, 6, 10])
def test_error_rates_over_workloads_are_the_documented_ones(
    k: int, tau: float, degrees: int
) -> None:
    """The table is of 12 pairs; with 3 searches of each arm the rates differ by less than 1 %.

    The standard errors of the effects are log-uniform from 0.1 to 1 and estimated with the degrees
    of freedom of 12 pairs, or of 3 searches of each arm.
    """
    rng = np.random.default_rng([k, int(2 * tau), degrees])
    errors = np.exp(rng.uniform(math.log(0.1), 0.0, (N_SUITES, k)))
    effects = tau * rng.standard_normal((N_SUITES, k)) + errors * rng.standard_normal((N_SUITES, k))
    variances = errors**2 * rng.chisquare(degrees, (N_SUITES, k)) / degrees
    mean, error, tau2 = estimates(effects, variances)
    half = stats.t.ppf(0.975, k - 1) * error
    is_no_difference = np.abs(mean) + half < 1
    further = tau * rng.standard_normal(N_SUITES)
    reach = stats.t.ppf(0.975, k - 2) * np.sqrt(tau2 + error**2)
    false = np.mean((np.abs(mean) > half) & ~is_no_difference)
    covered = np.mean(np.abs(mean) <= half)
    predicted = np.mean(np.abs(further - mean) <= reach)
    helps = np.mean((mean + 2 - half > 0) & ~(mean + 2 + half < 1))
    assert false <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / N_SUITES)
    rounding = 0.0005 if degrees == 11 else 0.01
    shown = documented(f"{k} workloads", f"{tau:g}")
    for share, rate in zip((false, covered, predicted, helps), shown, strict=True):
        random = 5 * math.sqrt(2 * max(share * (1 - share), 1e-4) / N_SUITES)
        assert share == pytest.approx(rate, abs=rounding + random)


def test_inverse_variance_weights_would_make_the_interval_too_short() -> None:
    """The documented case: 3 workloads, standard errors from 0.03 to 1, tau = 0.5."""
    (shown,) = re.findall(r"the coverage of the interval was (\d+) %", TEXT)
    k, tau, degrees = 3, 0.5, 4
    rng = np.random.default_rng(1)
    errors = np.exp(rng.uniform(math.log(0.03), 0.0, (N_SUITES, k)))
    effects = tau * rng.standard_normal((N_SUITES, k)) + errors * rng.standard_normal((N_SUITES, k))
    variances = errors**2 * rng.chisquare(degrees, (N_SUITES, k)) / degrees
    tau2 = np.zeros(N_SUITES)
    for _ in range(50):  # Newton's method for sum w (y - mean)^2 = k - 1 with w = 1 / (s^2 + tau^2)
        weights = 1 / (variances + tau2[:, None])
        mean = (weights * effects).sum(1) / weights.sum(1)
        squares = weights * (effects - mean[:, None]) ** 2
        tau2 += np.maximum(0.0, squares.sum(1) - (k - 1)) / (weights * squares).sum(1)
    half = stats.t.ppf(0.975, k - 1) / np.sqrt(weights.sum(1))
    covered = np.mean(np.abs(mean) <= half)
    assert covered == pytest.approx(int(shown) / 100, abs=0.005)
    mean, error, _ = estimates(effects, variances)
    assert np.mean(np.abs(mean) <= stats.t.ppf(0.975, k - 1) * error) >= 0.95
