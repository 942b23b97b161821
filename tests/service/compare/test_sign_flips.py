"""The sign-flip test agrees with scipy's permutation test, with enumeration and closed forms."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gradnoise_service.compare.sign_flips import N_RESAMPLES, attained_level, sign_flip_test

DIFFERENCES = [0.31, 0.12, -0.05, 0.22, 0.4, 0.08, 0.17, -0.02, 0.29, 0.11]


@pytest.mark.parametrize(
    "differences",
    [DIFFERENCES, [1, 1, -1, 2, 3, 3, 0, 4], [0, 0, 2, 2, -2, 5, 1, 1], [3, -3, 1, 0, 2, -1, 4, 4]],
)
def test_up_to_20_differences_p_is_scipy_s_over_all_sign_flips(differences: list[float]) -> None:
    reference = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    found = sign_flip_test(differences, seed=1)
    assert found.p == pytest.approx(reference.pvalue)
    assert found.error == 0


def test_fisher_s_example_has_the_published_p_value() -> None:
    """Darwin's plants (Fisher 1935, section 21): 1,726 of 2^15 sign flips; 835 + 28 at each end."""
    eighths = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
    assert sign_flip_test(eighths, seed=1).p == 1_726 / 2**15


def test_beyond_20_differences_p_is_that_of_student_s_test_up_to_its_error() -> None:
    """For normal differences both tests agree to order 1 / n; bound: 4 standard errors and 0.003."""
    x = np.random.default_rng(2).normal(0.15, 1.0, size=200).tolist()
    found = sign_flip_test(x, seed=3)
    assert found.error == math.sqrt(found.p * (1 - found.p) / N_RESAMPLES)
    assert abs(found.p - stats.ttest_1samp(x, 0).pvalue) < 4 * found.error + 0.003


def test_counted_and_random_sign_flips_agree() -> None:
    """The 20 differences are counted; with one more, next to 0, their signs are drawn."""
    x = np.random.default_rng(5).normal(0.4, 1.0, size=20).tolist()
    counted, drawn = sign_flip_test(x, seed=1), sign_flip_test([*x, 1e-9], seed=1)
    assert abs(counted.p - drawn.p) < 4 * drawn.error


def test_equal_seeds_give_equal_p_values() -> None:
    x = np.random.default_rng(7).normal(0.2, 1.0, size=40).tolist()
    assert sign_flip_test(x, seed=1) == sign_flip_test(x, seed=1)
    assert sign_flip_test(x, seed=1) != sign_flip_test(x, seed=2)


@pytest.mark.parametrize("n", [6, 9, 13])
def test_differences_of_equal_sign_have_the_smallest_possible_p(n: int) -> None:
    """Two of the 2^n sign flips are equally extreme, with or without ties."""
    assert sign_flip_test([0.5] * n, seed=1).p == 2 ** (1 - n)


@pytest.mark.parametrize("differences", [[0.0] * 8, [0.1, -0.1], [0.3, -0.1, -0.2]])
def test_without_a_mean_difference_p_is_1(differences: list[float]) -> None:
    assert sign_flip_test(differences, seed=1).p == 1


@given(st.lists(st.integers(-300, 300), min_size=1, max_size=12))
def test_rounding_of_differences_changes_no_p_value(thirds: list[int]) -> None:
    """Differences of k / 300 are multiples of 1 / 300 up to their rounding."""
    rounded = [(k + 450) / 300 - 450 / 300 for k in thirds]
    assert sign_flip_test(rounded, seed=1) == sign_flip_test(thirds, seed=1)


@pytest.mark.parametrize("n", [5, 6, 9, 14])
def test_the_attained_level_is_the_share_of_sign_flips_that_reject(n: int) -> None:
    """With powers of 2 no two sign flips have the same sum."""
    signs = np.array(list(itertools.product([-1, 1], repeat=n)))
    sums = np.abs(signs @ 2.0 ** np.arange(n))
    shares = np.array([np.mean(sums >= s) for s in np.unique(sums)])
    assert attained_level(n, 0.05) == max(shares[shares <= 0.05], default=0.0)


@pytest.mark.parametrize("n", [10, 25])
def test_the_test_keeps_its_level_if_runs_learn_or_not(n: int) -> None:
    """Ties, zeros and gaps: differences of equal arms, 0.8 times -1, 0 or 1.

    Bound: 5 % and three standard errors of the simulation.
    """
    rng = np.random.default_rng(11)
    n_simulations = 500
    rejected = 0
    for seed in range(n_simulations):
        gains = 0.8 * (rng.integers(0, 2, size=n) - rng.integers(0, 2, size=n))
        rejected += sign_flip_test(gains.tolist(), seed=seed).p <= 0.05
    assert rejected / n_simulations <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / n_simulations)
