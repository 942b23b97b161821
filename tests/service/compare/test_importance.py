"""Importances follow the formulas, are 0 without an effect, and are omitted for few trials."""

import itertools

import numpy as np
import pytest
from scipy.stats import kruskal  # type: ignore[import-untyped]

from chosen_outcomes import points
from gradnoise_service.compare.importance import (
    chance_share,
    importances,
    interaction,
    interactions,
    kruskal_h,
)
from gradnoise_service.domain.space import Value
from gradnoise_service.domain.study import Metric


def test_the_statistic_behind_an_importance_is_kruskal_and_wallis_s() -> None:
    rng = np.random.default_rng(3)
    values, groups = rng.integers(0, 12, 60).astype(float), rng.integers(0, 4, 60)
    expected = kruskal(*(values[groups == g] for g in range(4))).statistic
    assert kruskal_h(list(values), list(groups)) == pytest.approx(expected)


def test_importance_is_high_only_for_a_hyperparameter_with_an_effect(accuracy: Metric) -> None:
    """Without an effect H is chi-squared with 3 degrees of freedom.

    The share is (H - 3) / (n - 4) with standard deviation sqrt(6) / (n - 4); the bound is five of
    those.
    """
    rng = np.random.default_rng(5)
    n = 200
    lr, eta = rng.uniform(0.001, 1, n), rng.uniform(0, 1, n)
    found = importances(accuracy, points(list(lr), lr=lr, eta=eta, gamma=np.full(n, 0.55)))
    assert [f.name for f in found] == ["lr", "eta"]
    assert found[0].share > 0.9
    assert found[1].share < 5 * 6**0.5 / (n - 4)
    assert {f.n_groups for f in found} == {4}


def test_a_lost_trial_counts_as_the_worst_for_the_importance(accuracy: Metric) -> None:
    values: list[float | str] = [0.5 + i / 1000 if i % 2 else "diverged" for i in range(40)]
    found = importances(accuracy, points(values, lr=[0.1 if i % 2 else 1.0 for i in range(40)]))
    ranks = kruskal(*([0.0] * 20, [0.5 + i / 1000 for i in range(40) if i % 2])).statistic
    assert found[0].share == pytest.approx((ranks - 1) / 38)


@pytest.mark.parametrize("values", [[0.1] * 40, [0.1 * i for i in range(19)], ["pruned"] * 40, []])
def test_few_trials_or_equal_values_have_no_importance(
    accuracy: Metric, values: list[float | str]
) -> None:
    assert importances(accuracy, points(values, lr=list(range(len(values))))) == []


@pytest.mark.parametrize("choices", [("tanh", "relu"), ([3, 3], [5, 5])])
def test_a_hyperparameter_of_words_or_lists_is_grouped_by_value(
    accuracy: Metric, choices: tuple[Value, Value]
) -> None:
    values = [choices[i % 2] for i in range(40)]
    found = importances(accuracy, points([float(i % 2) for i in range(40)], act=values))
    assert [(f.name, f.n_groups, f.share) for f in found] == [("act", 2, pytest.approx(1.0))]


def grid(n_first: int, n_second: int, n_each: int) -> tuple[list[int], list[int]]:
    """Return the two groups of trials, equally many in every cell."""
    first, second = zip(*itertools.product(range(n_first), range(n_second)), strict=True)
    return list(first) * n_each, list(second) * n_each


def test_additive_effects_have_no_interaction() -> None:
    """The ranks of 4 a + b with a, b in 0 .. 3 are additive over the 16 cells.

    So are those of four uneven cells in the order (1, 0), (1, 1), (0, 0), (0, 1), with equally many
    trials in the first two and in the others, and those of fewer cells than effects.
    """
    first, second = grid(4, 4, 5)
    assert interaction([4.0 * a + b for a, b in zip(first, second, strict=True)], first, second)[
        0
    ] == pytest.approx(0.0, abs=1e-12)
    for counts, expected in ((1, 5, 4, 2), (1, 20)), ((5, 1, 6, 0), (0, 21)):
        cells = [
            cell
            for cell, n in zip([(1, 0), (1, 1), (0, 0), (0, 1)], counts, strict=True)
            for _ in range(2 * n)
        ]
        share, *degrees = interaction(
            [b - 2.0 * a for a, b in cells], [a for a, _ in cells], [b for _, b in cells]
        )
        assert share == pytest.approx(0.0, abs=1e-12)
        assert tuple(degrees) == expected


@pytest.mark.parametrize(
    "function",
    [lambda a, b: a != b, lambda a, b: (a - 0.5) * (b - 0.5)],
    ids=["exclusive or", "product"],
)
def test_a_joint_effect_without_separate_effects_is_all_interaction(
    function: object, accuracy: Metric
) -> None:
    first, second = grid(2, 2, 10)
    values = [float(function(a, b)) for a, b in zip(first, second, strict=True)]  # type: ignore[operator]
    (found,) = interactions(accuracy, points(values, eta=first, gamma=second))
    assert (found.names, found.share, found.n_cells, found.n) == (("eta", "gamma"), 1.0, 4, 40)
    assert [f.share for f in importances(accuracy, points(values, eta=first, gamma=second))] == [
        0.0,
        0.0,
    ]


def test_a_third_of_a_conjunction_is_interaction() -> None:
    """For `a and b` the variance of the cells is 3/16, that of each alone 1/16.

    The share is therefore (n / 16 / (n - 3)) / (3 n / 16 / (n - 1)).
    """
    first, second = grid(2, 2, 10)
    share, freedom, rest = interaction(
        [float(a and b) for a, b in zip(first, second, strict=True)], first, second
    )
    assert (share, freedom, rest) == (pytest.approx(39 / (3 * 37)), 1, 36)


@pytest.mark.parametrize(
    ("n", "k", "m"),
    [
        (30, 2, 2),
        pytest.param(30, 3, 2, marks=pytest.mark.slow),
        pytest.param(80, 4, 4, marks=pytest.mark.slow),
    ],
)
def test_without_an_effect_the_share_exceeds_its_chance_value_in_5_percent(
    n: int, k: int, m: int
) -> None:
    """The mean over 1,000 searches is 0, and 5 % lie beyond the chance value.

    With d and e degrees of freedom, the standard error of a share is sqrt(2 d / (e (d + e))). Both
    bounds are five standard errors.
    """
    rng, n_searches = np.random.default_rng(11), 1_000
    drawn = [
        interaction(rng.normal(size=n).tolist(), *rng.integers(0, (k, m), (n, 2)).T.tolist())
        for _ in range(n_searches)
    ]
    error = float(np.sqrt(np.mean([2 * d / (e * (d + e)) for _, d, e in drawn])))
    assert abs(np.mean([share for share, _, _ in drawn])) < 5 * error / n_searches**0.5
    beyond = np.mean([share > chance_share(d, e) for share, d, e in drawn])
    assert abs(beyond - 0.05) < 5 * (0.05 * 0.95 / n_searches) ** 0.5


def test_cells_become_finer_with_more_trials_and_sparse_pairs_are_omitted(
    accuracy: Metric,
) -> None:
    rng = np.random.default_rng(2)
    for n, n_cells in ((20, 4), (44, 4), (45, 9), (79, 9), (80, 16), (500, 16)):
        (found,) = interactions(
            accuracy, points(rng.normal(size=n).tolist(), lr=rng.random(n), eta=rng.random(n))
        )
        assert found.n_cells == n_cells
    words = [f"word {i % 12}" for i in range(40)]
    assert (
        interactions(accuracy, points(rng.normal(size=40).tolist(), lr=rng.random(40), act=words))
        == []
    )
    assert (
        interactions(
            accuracy, points(rng.normal(size=19).tolist(), lr=rng.random(19), eta=rng.random(19))
        )
        == []
    )
    assert (
        interactions(
            accuracy, points(rng.normal(size=40).tolist(), lr=rng.random(40), eta=[0.3] * 40)
        )
        == []
    )


def test_a_confounded_pair_has_no_interaction(accuracy: Metric) -> None:
    """No cell separates parameters if each group of a parameter has a single group of the other."""
    rng = np.random.default_rng(2)
    lr = rng.random(40)
    assert interactions(accuracy, points(rng.normal(size=40).tolist(), lr=lr, twice=2 * lr)) == []


def test_ranks_make_a_sum_of_uniform_variables_interact_by_1_3_per_cent() -> None:
    """On a fine grid, in quarters, as documented."""
    first, second = grid(40, 40, 1)
    share, *_ = interaction(
        [float(a + b) for a, b in zip(first, second, strict=True)],
        [a // 10 for a in first],
        [b // 10 for b in second],
    )
    assert share == pytest.approx(0.013, abs=0.0005)
