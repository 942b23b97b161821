"""The sign-flip test agrees with scipy's permutation test, with enumeration and closed forms."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gradnoise_service.compare.ranks import signed_rank_p
from gradnoise_service.compare.sign_flips import attained_level, positive_sums, sign_flip_p

DIFFERENCES = [0.31, 0.12, -0.05, 0.22, 0.4, 0.08, 0.17, -0.02, 0.29, 0.11]


@pytest.mark.parametrize(
    "differences",
    [DIFFERENCES, [1, 1, -1, 2, 3, 3, 0, 4], [0, 0, 2, 2, -2, 5, 1, 1], [3, -3, 1, 0, 2, -1, 4, 4]],
)
def test_up_to_20_differences_p_is_scipy_s_over_all_sign_flips(differences: list[float]) -> None:
    reference = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_p(differences) == pytest.approx(reference.pvalue)


def test_fisher_s_example_has_the_published_p_value() -> None:
    """Darwin's plants (Fisher 1935, section 21): 1,726 of 2^15 sign flips; 835 + 28 at each end."""
    eighths = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
    assert sign_flip_p(eighths) == 1_726 / 2**15


@pytest.mark.parametrize("n", [21, 40, 150])
def test_beyond_20_differences_p_is_at_least_the_exact_one_and_at_most_2_percent_above(
    n: int,
) -> None:
    """Whole numbers of 0 to 9 need no rounding, so their sums are counted exactly."""
    x = np.random.default_rng(n).integers(-7, 10, size=n)
    sizes, sums = np.abs(x), positive_sums(np.abs(x))
    far = np.abs(2 * np.arange(len(sums)) - sizes.sum()) >= abs(x.sum())
    exact = float(sums[far].sum())
    assert exact <= sign_flip_p((x / 300).tolist()) <= 1.02 * exact


def test_beyond_400_differences_the_normal_distribution_continues_smoothly() -> None:
    x = np.random.default_rng(2).normal(0.1, 1.0, size=401).tolist()
    assert sign_flip_p(x) == pytest.approx(sign_flip_p(x[:400]), rel=0.15)
    assert sign_flip_p([*x[:400], 1e-9]) == pytest.approx(sign_flip_p(x[:400]), rel=0.03)


def test_small_p_values_are_resolved() -> None:
    """Differences of equal sign and size: 2 of 2^n sign flips."""
    assert sign_flip_p([0.3] * 60) == pytest.approx(2**-59)


@settings(max_examples=20)
@given(st.lists(st.floats(0.1, 1), min_size=20, max_size=20), st.floats(-1e9, 1e9))
def test_beside_a_lost_run_p_is_not_below_the_exact_one(sizes: list[float], large: float) -> None:
    """A large difference leaves few units for the others."""
    x = np.array([large, *(size * (-1) ** (i // 7) for i, size in enumerate(sizes))])
    sums = np.array([abs(large)])
    for size in sizes:
        sums = np.concatenate([sums + size, sums - size])
    exact = np.mean(np.abs(sums) >= abs(x.sum()) * (1 + 1e-9))
    assert sign_flip_p(x.tolist()) >= exact


@pytest.mark.parametrize("n", [6, 9, 13])
def test_differences_of_equal_sign_have_the_smallest_possible_p(n: int) -> None:
    """Two of the 2^n sign flips are equally extreme, with or without ties."""
    assert sign_flip_p([0.5] * n) == 2 ** (1 - n)


@pytest.mark.parametrize("differences", [[0.0] * 8, [0.1, -0.1], [0.3, -0.1, -0.2]])
def test_without_a_mean_difference_p_is_1(differences: list[float]) -> None:
    assert sign_flip_p(differences) == 1


@given(st.lists(st.integers(-300, 300), min_size=1, max_size=12))
def test_rounding_of_differences_changes_no_p_value(thirds: list[int]) -> None:
    """Differences of k / 300 are multiples of 1 / 300 up to their rounding."""
    rounded = [(k + 450) / 300 - 450 / 300 for k in thirds]
    assert sign_flip_p(rounded) == sign_flip_p(thirds)


@pytest.mark.parametrize("n", [5, 6, 9, 14])
def test_the_attained_level_is_the_share_of_sign_flips_that_reject(n: int) -> None:
    """With powers of 2 no two sign flips have the same sum."""
    signs = np.array(list(itertools.product([-1, 1], repeat=n)))
    sums = np.abs(signs @ 2.0 ** np.arange(n))
    shares = np.array([np.mean(sums >= s) for s in np.unique(sums)])
    assert attained_level(n, 0.05) == max(shares[shares <= 0.05], default=0.0)


@pytest.mark.parametrize("test", [sign_flip_p, signed_rank_p])
@pytest.mark.parametrize("n", [10, 25])
def test_both_tests_keep_their_level_if_runs_learn_or_not(
    test: Callable[[list[float]], float], n: int
) -> None:
    """Ties, zeros and gaps: differences of equal arms, 0.8 times -1, 0 or 1.

    Bound: 5 % and three standard errors of the simulation.
    """
    rng = np.random.default_rng(11)
    n_simulations = 1_000
    rejected = 0
    for _ in range(n_simulations):
        gains = 0.8 * (rng.integers(0, 2, size=n) - rng.integers(0, 2, size=n))
        rejected += test(gains.tolist()) <= 0.05
    assert rejected / n_simulations <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / n_simulations)


@pytest.mark.parametrize(
    ("data", "of_ranks", "of_sign_flips"),
    [("normal", 0.66, 0.71), ("learns or not", 0.56, 0.65), ("learns or is lost", 0.438, 0.842)],
)
def test_sign_flips_detect_what_ranks_miss(
    data: str, of_ranks: float, of_sign_flips: float
) -> None:
    """Power of both tests at 12 pairs; bound: three standard errors of the simulation.

    Where 40 % of an arm's runs are lost (-0.1) and the others learn (+0.65), ranks are significant
    with up to 4 lost runs and sign flips with up to 6, so the power is a binomial probability.
    """
    draw: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
        "normal": lambda rng: rng.normal(0.8, 1, 12),
        "learns or not": lambda rng: (
            np.where(rng.random(12) < 0.7, 0.75, 0.1)
            - np.where(rng.random(12) < 0.2, 0.75, 0.1)
            + rng.normal(0, 0.03, 12)
        ),
        "learns or is lost": lambda rng: np.where(rng.random(12) < 0.6, 0.65, -0.1),
    }
    rng, n_studies = np.random.default_rng(12), 1_000
    found = {signed_rank_p: 0, sign_flip_p: 0}
    for _ in range(n_studies):
        differences = draw[data](rng).tolist()
        for test in found:
            found[test] += test(differences) <= 0.05
    for test, power in ((signed_rank_p, of_ranks), (sign_flip_p, of_sign_flips)):
        error = 3 * math.sqrt(power * (1 - power) / n_studies)
        assert found[test] / n_studies == pytest.approx(power, abs=error)
