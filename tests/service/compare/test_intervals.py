"""Intervals and tests agree with scipy and with closed forms, cover what they promise, and keep
their signs straight.
"""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gradnoise_service.compare.comparison import Interval
from gradnoise_service.compare.intervals import (
    N_RESAMPLES,
    attained_level,
    fewest_pairs,
    holm,
    interquartile_interval,
    interquartile_mean,
    mean_interval,
    probability_of_improvement,
    share_interval,
    signed_rank_p,
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
    assert (interval.level, interval.method) == (
        0.95,
        "BCa bootstrap, 9999 resamples, widened for 10 pairs",
    )


def test_for_many_normal_differences_the_interval_is_student_s() -> None:
    x = np.random.default_rng(1).normal(3.0, 2.0, size=200)
    student = stats.t.interval(0.95, len(x) - 1, loc=x.mean(), scale=stats.sem(x))
    interval = mean_interval(x.tolist(), level=0.95, seed=1)
    # the end of a bootstrap interval is a quantile of 9,999 draws: its standard error is sqrt(p (1
    # - p) / B) / density, about 0.027 sem
    # five of those, and a skewness that 200 draws may have by chance
    bound = 5 * 0.03 * stats.sem(x) + 0.1 * stats.sem(x)
    assert interval.low == pytest.approx(student[0], abs=bound)
    assert interval.high == pytest.approx(student[1], abs=bound)


@pytest.mark.parametrize("level", [0.9999, 1 - 1e-6, 1 - 1e-10])
def test_at_a_level_beyond_the_resamples_the_interval_is_no_narrower_than_student_s(
    level: float,
) -> None:
    """An early look's level asks for quantiles that 9,999 resamples do not have."""
    x = np.random.default_rng(4).normal(0.1, 0.1, size=40)
    interval = mean_interval(x.tolist(), level=level, seed=1)
    student = stats.t.interval(level, 39, loc=x.mean(), scale=stats.sem(x))
    # four standard errors of the resamples' standard deviation
    bound = 4 / math.sqrt(2 * N_RESAMPLES) * (x.mean() - student[0])
    assert interval.low <= student[0] + bound
    assert interval.high >= student[1] - bound
    assert "Student" in interval.method


@pytest.mark.parametrize("level", [0.95, 0.9999, 1 - 1e-10, 1 - 1e-15])
@pytest.mark.parametrize("lost", [-100.0, 100.0])
@pytest.mark.parametrize("make", [mean_interval, interquartile_interval])
def test_one_lost_run_among_many_turns_no_interval_inside_out(
    make: Callable[..., Interval], lost: float, level: float
) -> None:
    """The acceleration times the quantile passes 1 at strict levels, where BCa's formula changes
    sides.
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
def test_the_interval_turns_with_the_sign_and_moves_with_a_shift(
    values: list[int], shift: int
) -> None:
    interval = mean_interval(values, level=0.95, seed=3)
    turned = mean_interval([-value for value in values], level=0.95, seed=3)
    moved = mean_interval([value + shift for value in values], level=0.95, seed=3)
    assert (turned.low, turned.high) == pytest.approx((-interval.high, -interval.low), abs=1e-9)
    # ties are resolved by rounding
    assert (moved.low, moved.high) == pytest.approx(
        (interval.low + shift, interval.high + shift), abs=0.5
    )
    assert min(values) <= interval.low <= interval.high <= max(values)


def test_equal_differences_have_an_interval_without_width_that_says_so() -> None:
    interval = mean_interval([0.1 + 0.2 - 0.2, 0.1, 0.1, 0.1, 0.1, 0.1], level=0.95, seed=1)
    assert interval.low == interval.high == pytest.approx(0.1)
    assert interval.method.startswith("no width")


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
def test_the_share_of_none_and_of_all_is_bounded_exactly(n: int) -> None:
    assert share_interval(0.0, n, level=0.95).low == 0.0
    assert share_interval(1.0, n, level=0.95).high == 1.0


def test_the_signed_rank_test_is_scipy_s_exact_one_where_there_are_no_ties() -> None:
    assert signed_rank_p(DIFFERENCES) == pytest.approx(
        stats.wilcoxon(DIFFERENCES, method="exact").pvalue
    )


@pytest.mark.parametrize(
    "differences",
    [[1, 1, -1, 2, 3, 3, 0, 4], [0, 0, 2, 2, -2, 5, 1, 1], [3, -3, 1, 0, 2, -1, 4, 4]],
)
def test_with_ties_and_zeros_the_signed_rank_test_is_scipy_s_over_all_sign_flips(
    differences: list[float],
) -> None:
    reference = stats.wilcoxon(
        differences, zero_method="pratt", method=stats.PermutationMethod(n_resamples=np.inf)
    )
    assert signed_rank_p(differences) == pytest.approx(reference.pvalue)


def test_beyond_400_pairs_the_normal_approximation_takes_over_smoothly() -> None:
    x = np.random.default_rng(2).normal(0.1, 1.0, size=401)
    assert signed_rank_p(x.tolist()) == pytest.approx(stats.wilcoxon(x, method="asymptotic").pvalue)
    assert signed_rank_p([*x[:400], 0.0]) == pytest.approx(
        stats.wilcoxon(x[:400], method="asymptotic").pvalue, rel=0.02
    )


@pytest.mark.parametrize("n", [6, 9, 13, 40])
def test_differences_of_one_sign_have_the_smallest_p_there_is(n: int) -> None:
    """Of all 2^n ways to set the signs two are as extreme, ties or not."""
    assert signed_rank_p([0.5] * n) == pytest.approx(2 ** (1 - n))


def test_without_any_difference_p_is_one() -> None:
    assert signed_rank_p([0.0] * 8) == 1.0


@pytest.mark.parametrize("n", [10, 25])
def test_the_signed_rank_test_rejects_equal_arms_at_most_at_its_level_where_runs_learn_or_not(
    n: int,
) -> None:
    """Ties, zeros and gaps: A/A differences of 0.8 times -1, 0 or 1. Bound: 5 % and three standard
    errors of the simulation.
    """
    rng = np.random.default_rng(11)
    n_simulations = 1_000
    rejected = 0
    for _ in range(n_simulations):
        gains = 0.8 * (rng.integers(0, 2, size=n) - rng.integers(0, 2, size=n))
        rejected += signed_rank_p(gains.tolist()) <= 0.05
    assert rejected / n_simulations <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / n_simulations)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    assert min(adjusted) == pytest.approx(min(1.0, len(p_values) * min(p_values)))
    by_p = [q for _, q in sorted(zip(p_values, adjusted, strict=True))]
    assert by_p == sorted(by_p)


@pytest.mark.parametrize("n_comparisons", range(1, 10))
def test_the_fewest_pairs_are_the_first_whose_smallest_p_is_small_enough(
    n_comparisons: int,
) -> None:
    alpha = 0.05 / n_comparisons
    n = fewest_pairs(alpha)
    assert 2 ** (1 - n) <= alpha < 2 ** (2 - n)


@pytest.mark.parametrize("n", [5, 6, 9, 14])
def test_the_attained_level_is_the_share_of_all_ways_to_set_the_signs_that_reject(n: int) -> None:
    ranks = np.arange(1, n + 1)
    signs = np.array(list(itertools.product([-1, 1], repeat=n)))
    sums = np.abs(signs @ ranks)
    shares = np.array([np.mean(sums >= s) for s in np.unique(sums)])
    assert attained_level(n, 0.05) == max(shares[shares <= 0.05], default=0.0)


@pytest.mark.parametrize("n", [6, 7, 12, 41])
def test_the_interquartile_mean_is_the_trimmed_mean_of_scipy(n: int) -> None:
    """Agarwal et al. 2021 and rliable: scipy's trim_mean, a quarter from each end."""
    x = np.random.default_rng(n).exponential(size=n)
    assert interquartile_mean(x.tolist()) == pytest.approx(stats.trim_mean(x, 0.25))


def test_the_interquartile_mean_s_interval_is_scipy_s_bca_at_the_widened_level() -> None:
    """Scipy takes a from the jackknife, ours is exact: with 40 values the ends differ by at most 2
    % of the width.
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


def test_an_interquartile_interval_holds_where_what_is_kept_differs_far_less_than_what_is_cut() -> (
    None
):
    interval = interquartile_interval(
        [0.0, 0.0, 0.0, 1e-300, 2e-300, 1.0, 0.0, 0.0], level=0.95, seed=1
    )
    assert 0 <= interval.low <= interval.high <= 1


def test_an_interquartile_interval_of_tied_values_says_that_it_has_no_width() -> None:
    interval = interquartile_interval([0.0] * 30 + [0.5], level=0.95, seed=1)
    assert (interval.low, interval.high, interval.method[:8]) == (0.0, 0.0, "no width")


def test_the_probability_of_improvement_counts_all_pairs_of_runs() -> None:
    """Agarwal et al. 2021, equation 1: the Mann-Whitney statistic over the number of pairs, as
    rliable takes it from scipy.
    """
    rng = np.random.default_rng(4)
    x, y = rng.integers(0, 6, size=11).tolist(), rng.integers(0, 5, size=8).tolist()
    by_hand = sum((a > b) + (a == b) / 2 for a in x for b in y) / (len(x) * len(y))
    assert probability_of_improvement(x, y) == pytest.approx(by_hand)
    assert probability_of_improvement(x, y) == pytest.approx(
        stats.mannwhitneyu(x, y).statistic / (len(x) * len(y))
    )
    assert probability_of_improvement(x, y) + probability_of_improvement(y, x) == pytest.approx(1)
