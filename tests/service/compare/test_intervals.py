"""Intervals agree with scipy and with closed forms, and follow the sign of the differences."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gradnoise_service.compare.facts.base import Interval
from gradnoise_service.compare.intervals import (
    N_RESAMPLES,
    interquartile_interval,
    interquartile_mean,
    mean_interval,
    share_interval,
)

DIFFERENCES = [0.31, 0.12, -0.05, 0.22, 0.4, 0.08, 0.17, -0.02, 0.29, 0.11]


def test_the_mean_s_interval_is_scipy_s_bca_at_the_widened_level() -> None:
    n = len(DIFFERENCES)
    tail = stats.norm.cdf(-math.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1))
    reference = stats.bootstrap(
        (DIFFERENCES,),
        np.mean,
        n_resamples=N_RESAMPLES,
        batch=1_000,
        confidence_level=1 - 2 * tail,
        method="BCa",
        rng=np.random.default_rng(5),
    )
    interval = mean_interval(DIFFERENCES, level=0.95, seed=5)
    assert (interval.low, interval.high) == pytest.approx(tuple(reference.confidence_interval))
    assert (interval.level, interval.method) == (0.95, "bca")


def test_for_many_normal_differences_the_interval_is_student_s() -> None:
    x = np.random.default_rng(1).normal(3.0, 2.0, size=200)
    student = stats.t.interval(0.95, len(x) - 1, loc=x.mean(), scale=stats.sem(x))
    interval = mean_interval(x.tolist(), level=0.95, seed=1)
    # the end of a bootstrap interval is a quantile of 9,999 draws: its standard error is sqrt(p (1
    # - p) / B) / density, about 0.027 sem; five of those, and the skewness that 200 draws may have
    bound = 5 * 0.03 * stats.sem(x) + 0.1 * stats.sem(x)
    assert interval.low == pytest.approx(student[0], abs=bound)
    assert interval.high == pytest.approx(student[1], abs=bound)


@pytest.mark.parametrize("level", [0.9999, 1 - 1e-6, 1 - 1e-10])
def test_at_a_level_beyond_the_resamples_the_interval_is_no_narrower_than_student_s(
    level: float,
) -> None:
    """The level of an early look requires quantiles beyond those of 9,999 resamples."""
    x = np.random.default_rng(4).normal(0.1, 0.1, size=40)
    interval = mean_interval(x.tolist(), level=level, seed=1)
    student = stats.t.interval(level, 39, loc=x.mean(), scale=stats.sem(x))
    # four standard errors of the resamples' standard deviation
    bound = 4 / math.sqrt(2 * N_RESAMPLES) * (x.mean() - student[0])
    assert interval.low <= student[0] + bound
    assert interval.high >= student[1] - bound
    assert interval.method == "bca_student"


@pytest.mark.parametrize("level", [0.95, 0.9999, 1 - 1e-10, 1 - 1e-15])
@pytest.mark.parametrize("lost", [-100.0, 100.0])
@pytest.mark.parametrize("make", [mean_interval, interquartile_interval])
def test_a_lost_run_among_many_does_not_invert_the_interval(
    make: Callable[..., Interval], lost: float, level: float
) -> None:
    """At strict levels the acceleration times the quantile exceeds 1.

    There the formula of BCa changes sides.
    """
    x = [lost, *np.random.default_rng(5).normal(0.1, 0.01, size=59)]
    interval = make(x, level=level, seed=1)
    centre = np.mean(x) if make is mean_interval else interquartile_mean(x)
    assert interval.low < centre < interval.high


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(-50, 50), min_size=6, max_size=15).filter(lambda x: len(set(x)) > 1),
    st.integers(-20, 20),
)
def test_the_interval_follows_the_sign_and_a_shift(values: list[int], shift: int) -> None:
    interval = mean_interval(values, level=0.95, seed=3)
    negated = mean_interval([-value for value in values], level=0.95, seed=3)
    moved = mean_interval([value + shift for value in values], level=0.95, seed=3)
    assert (negated.low, negated.high) == pytest.approx((-interval.high, -interval.low), abs=1e-9)
    # ties are resolved by rounding
    assert (moved.low, moved.high) == pytest.approx(
        (interval.low + shift, interval.high + shift), abs=0.5
    )
    assert min(values) <= interval.low <= interval.high <= max(values)


def test_equal_differences_have_an_interval_without_width() -> None:
    interval = mean_interval([0.1 + 0.2 - 0.2, 0.1, 0.1, 0.1, 0.1, 0.1], level=0.95, seed=1)
    assert interval.low == interval.high == pytest.approx(0.1)
    assert interval.method == "no_width_equal"


@pytest.mark.parametrize(
    ("successes", "n", "level"), [(0, 12, 0.95), (12, 12, 0.95), (7, 12, 0.95), (3, 40, 0.975)]
)
def test_the_share_s_interval_is_scipy_s_wilson(successes: int, n: int, level: float) -> None:
    reference = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    interval = share_interval(successes / n, n, level=level)
    assert (interval.low, interval.high) == pytest.approx(
        (reference.low, reference.high), abs=1e-12
    )


@pytest.mark.parametrize("n", [1, 3, 7, 12, 29])
def test_a_share_of_none_or_all_has_an_exact_bound(n: int) -> None:
    assert share_interval(0.0, n, level=0.95).low == 0.0
    assert share_interval(1.0, n, level=0.95).high == 1.0


@pytest.mark.parametrize("n", [6, 7, 12, 41])
def test_the_interquartile_mean_is_the_trimmed_mean_of_scipy(n: int) -> None:
    """Agarwal et al. 2021 and rliable: scipy's trim_mean, a quarter from each end."""
    x = np.random.default_rng(n).exponential(size=n)
    assert interquartile_mean(x.tolist()) == pytest.approx(stats.trim_mean(x, 0.25))


def test_the_interquartile_mean_s_interval_is_scipy_s_bca_at_the_widened_level() -> None:
    """scipy estimates the acceleration by the jackknife, and ours is exact.

    With 40 values the ends differ by at most 2 % of the width.
    """
    x = np.random.default_rng(8).exponential(size=40)
    tail = stats.norm.cdf(-math.sqrt(40 / 39) * stats.t.ppf(0.975, 39))
    reference = stats.bootstrap(
        (x,),
        lambda rows, axis: stats.trim_mean(rows, 0.25, axis=axis),
        n_resamples=N_RESAMPLES,
        batch=1_000,
        confidence_level=1 - 2 * tail,
        method="BCa",
        rng=np.random.default_rng(5),
    ).confidence_interval
    interval = interquartile_interval(x.tolist(), level=0.95, seed=5)
    assert (interval.low, interval.high) == pytest.approx(
        tuple(reference), abs=0.02 * (reference.high - reference.low)
    )


def test_outliers_move_the_interquartile_interval_no_further_than_their_rank() -> None:
    far, farther = ([*DIFFERENCES, *DIFFERENCES, outlier] for outlier in (1.0, 1e6))
    assert interquartile_mean(far) == interquartile_mean(farther)
    near = [interquartile_interval(x, level=0.95, seed=3) for x in (far, farther)]
    assert near[0].low == pytest.approx(near[1].low)
    assert near[1].high < 1.0


def test_an_interquartile_interval_is_finite_if_kept_values_vary_far_less_than_cut_values() -> None:
    interval = interquartile_interval(
        [0.0, 0.0, 0.0, 1e-300, 2e-300, 1.0, 0.0, 0.0], level=0.95, seed=1
    )
    assert 0 <= interval.low <= interval.high <= 1


def test_an_interquartile_interval_of_tied_values_has_no_width() -> None:
    interval = interquartile_interval([0.0] * 30 + [0.5], level=0.95, seed=1)
    assert (interval.low, interval.high, interval.method) == (0.0, 0.0, "no_width_tied")
