"""Rank statistics agree with scipy, with enumeration and with closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gradnoise_service.compare.ranks import (
    holm,
    probability_of_improvement,
    signed_rank_p,
)

DIFFERENCES = [0.31, 0.12, -0.05, 0.22, 0.4, 0.08, 0.17, -0.02, 0.29, 0.11]


def test_without_ties_the_signed_rank_test_is_scipy_s_exact_test() -> None:
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


def test_beyond_400_pairs_the_normal_approximation_continues_smoothly() -> None:
    x = np.random.default_rng(2).normal(0.1, 1.0, size=401)
    assert signed_rank_p(x.tolist()) == pytest.approx(stats.wilcoxon(x, method="asymptotic").pvalue)
    assert signed_rank_p([*x[:400], 0.0]) == pytest.approx(
        stats.wilcoxon(x[:400], method="asymptotic").pvalue, rel=0.02
    )


@pytest.mark.parametrize("n", [6, 9, 13, 40])
def test_differences_of_equal_sign_have_the_smallest_possible_p(n: int) -> None:
    """Two of the 2^n sign flips are equally extreme, with or without ties."""
    assert signed_rank_p([0.5] * n) == pytest.approx(2 ** (1 - n))


def test_without_any_difference_p_is_1() -> None:
    assert signed_rank_p([0.0] * 8) == 1.0


def test_differences_that_are_equal_up_to_rounding_share_a_rank() -> None:
    """Differences of k / 300, as floats and as whole numbers."""
    values, others = [146, 150, 155, 160, 140, 170, 131], [143, 147, 158, 154, 146, 164, 134]
    exact = [a - b for a, b in zip(values, others, strict=True)]
    rounded = [a / 300 - b / 300 for a, b in zip(values, others, strict=True)]
    assert len(set(map(abs, rounded))) > len(set(map(abs, exact)))
    assert signed_rank_p(rounded) == signed_rank_p(exact)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    assert min(adjusted) == pytest.approx(min(1.0, len(p_values) * min(p_values)))
    by_p = [q for _, q in sorted(zip(p_values, adjusted, strict=True))]
    assert by_p == sorted(by_p)


def test_the_probability_of_improvement_counts_all_pairs_of_runs() -> None:
    """Agarwal et al. 2021, equation 1: the Mann-Whitney statistic over the number of pairs.

    rliable computes it by scipy.
    """
    rng = np.random.default_rng(4)
    x, y = rng.integers(0, 6, size=11).tolist(), rng.integers(0, 5, size=8).tolist()
    by_hand = sum((a > b) + (a == b) / 2 for a in x for b in y) / (len(x) * len(y))
    assert probability_of_improvement(x, y) == pytest.approx(by_hand)
    assert probability_of_improvement(x, y) == pytest.approx(
        stats.mannwhitneyu(x, y).statistic / (len(x) * len(y))
    )
    assert probability_of_improvement(x, y) + probability_of_improvement(y, x) == pytest.approx(1)
