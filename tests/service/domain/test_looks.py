"""The levels of several looks are the published ones, and the chance of a false verdict is that of
simulated studies.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from gradnoise_service.compare import compare
from gradnoise_service.compare.intervals import signed_rank_p
from gradnoise_service.domain.looks import OBRIEN_FLEMING, POCOCK, crossing_chance, nominal_levels
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Trial

Make = Callable[..., tuple[StudySpec, list[Trial]]]


@pytest.mark.parametrize(
    ("n_looks", "shape", "published"),
    [
        (1, POCOCK, 1.960),
        (2, POCOCK, 2.178),
        (3, POCOCK, 2.289),
        (4, POCOCK, 2.361),
        (5, POCOCK, 2.413),
        (10, POCOCK, 2.555),
        (2, OBRIEN_FLEMING, 1.977),
        (3, OBRIEN_FLEMING, 2.004),
        (4, OBRIEN_FLEMING, 2.024),
        (5, OBRIEN_FLEMING, 2.040),
        (4, 0.25, 2.113),
        (5, 0.25, 2.136),
    ],
)
def test_the_bounds_are_the_published_ones(n_looks: int, shape: float, published: float) -> None:
    """Jennison and Turnbull 2000, tables 2.1, 2.3 and 2.9, for equal groups at 5 %, to their three
    digits.
    """
    levels = nominal_levels([7 * (k + 1) for k in range(n_looks)], shape=shape, alpha=0.05)
    bounds = [-stats.norm.ppf(level / 2) for level in levels]
    assert bounds[-1] == pytest.approx(published, abs=0.00051)
    assert bounds == pytest.approx(
        [bounds[-1] * ((k + 1) / n_looks) ** (shape - 0.5) for k in range(n_looks)]
    )


def test_the_chance_of_a_crossing_is_that_of_the_multivariate_normal() -> None:
    """Corr(Z_j, Z_k) = sqrt(n_j / n_k); looks that follow each other closely included."""
    pairs, bounds = [12, 13, 40], [2.5, 1.8, 2.0]
    covariance = [[math.sqrt(min(a, b) / max(a, b)) for b in pairs] for a in pairs]
    inside = stats.multivariate_normal(cov=covariance).cdf(
        bounds, lower_limit=[-b for b in bounds], rng=np.random.default_rng(1)
    )
    assert crossing_chance(pairs, bounds) == pytest.approx(1 - inside, abs=2e-4)


@pytest.mark.parametrize("pairs", [[], [0], [5, 5], [8, 4]])
def test_looks_that_do_not_rise_are_refused(pairs: list[int]) -> None:
    with pytest.raises(ValueError, match="rise from look to look, but got pairs="):
        crossing_chance(pairs, [1.96] * len(pairs))


@pytest.mark.parametrize("looks", [(12, 32), (8, 16, 24)])
def test_extending_until_it_is_significant_errs_as_often_as_computed(
    looks: tuple[int, ...],
) -> None:
    """The signed-rank test, at every look, of equal arms. Bound: three standard errors; ranks of
    few pairs attain a little less.
    """
    rng = np.random.default_rng(9)
    n_studies = 3_000
    wrong = 0
    for _ in range(n_studies):
        gains = rng.normal(size=looks[-1])
        wrong += any(signed_rank_p(gains[:n].tolist()) <= 0.05 for n in looks)
    chance = crossing_chance(looks, [stats.norm.ppf(0.975)] * len(looks))
    error = 3 * math.sqrt(chance * (1 - chance) / n_studies)
    assert chance - error - 0.01 <= wrong / n_studies <= chance + error
    assert wrong / n_studies > 0.05 + 3 * math.sqrt(0.05 * 0.95 / n_studies)


def test_an_extended_study_says_what_its_verdict_is_worth(
    make_trials: Make, accuracy: Metric
) -> None:
    """At 12 and 24 pairs, 8.3 %; Pocock's level for two looks is 2.9 %."""
    clear = make_trials({"baseline": [0.1 + i / 1000 for i in range(24)], "noisy": [0.9] * 24})
    comparison = compare(clear[0], accuracy, clear[1], protocol={}, looks=(12,))
    assert (comparison.verdict, comparison.looks) == ("helps", (12,))
    assert comparison.false_verdict_chance == pytest.approx(
        crossing_chance([12, 24], [1.95996, 1.95996]), abs=1e-6
    )
    assert comparison.sentence.endswith(
        " This is verdict 2 of the study, after 12 seeds: looked at so often, of equal arms one is "
        "called better or worse in up to "
        "8.3 % of studies, not in 5 %; had the looks been declared, each would be held to p of at "
        "most 0.029 (Pocock), which this one is."
    )
    once = compare(clear[0], accuracy, clear[1], protocol={})
    assert (once.looks, once.false_verdict_chance) == ((), 0.05)
    assert comparison.sentence.startswith(once.sentence)


def test_the_chance_is_of_any_arm_s_being_called_different(
    make_trials: Make, accuracy: Metric
) -> None:
    values = np.random.default_rng(2).normal(0.5, 0.1, size=(3, 20)).tolist()
    spec, trials = make_trials(dict(zip(("baseline", "noisy", "constant"), values, strict=True)))
    bound = stats.norm.ppf(1 - 0.025 / 2)
    chance = compare(spec, accuracy, trials, protocol={}, looks=(10,)).false_verdict_chance
    assert chance == pytest.approx(2 * crossing_chance([10, 20], [bound, bound]))


@pytest.mark.parametrize(
    ("looks", "kept"), [((8, 8, 40, 3), ()), ((6, 7, 6), (6, 7)), ((-1, 0), ())]
)
def test_looks_that_could_give_no_verdict_on_fewer_seeds_do_not_count(
    make_trials: Make, accuracy: Metric, looks: tuple[int, ...], kept: tuple[int, ...]
) -> None:
    spec, trials = make_trials({"baseline": [0.1] * 8, "noisy": [0.9] * 8})
    comparison = compare(spec, accuracy, trials, protocol={}, looks=looks)
    assert comparison.looks == kept
    assert ("This is verdict" in comparison.sentence) == bool(kept)


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 9])
@pytest.mark.parametrize("shape", [OBRIEN_FLEMING, POCOCK])
@pytest.mark.parametrize(
    "pairs", [[1_000_000, 1_000_001], [999_990, 999_995, 1_000_000], [2, 3, 1_000_000]]
)
def test_looks_that_hardly_differ_or_lie_worlds_apart_have_levels_too(
    pairs: list[int], shape: float, alpha: float
) -> None:
    """Two looks at almost the same data err as one, and together no more than alpha; one at almost
    none takes almost none of it.
    """
    levels = nominal_levels(pairs, shape=shape, alpha=alpha)
    assert 0 <= max(levels) <= alpha * (1 + 1e-6)
    assert sum(levels) >= alpha * (1 - 1e-6)
    if pairs[0] > pairs[-1] / 2:
        assert min(levels) > 0.95 * alpha
    elif shape == OBRIEN_FLEMING:
        assert levels == pytest.approx([0, 0, alpha], rel=1e-4)
