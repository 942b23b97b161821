"""Extended studies: every earlier verdict adds to the probability of a false one."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from gradnoise_service.compare.assembly import compare
from gradnoise_service.compare.sign_flips import sign_flip_p
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.looks import OBRIEN_FLEMING, POCOCK, crossing_chance, nominal_levels
from gradnoise_service.domain.sequential import ALPHA
from gradnoise_service.domain.study import Metric, Trial

Make = Callable[..., tuple[Design, list[Trial]]]


@pytest.mark.parametrize(
    ("data", "looks"),
    [
        ("normal", (12, 32)),
        pytest.param("normal", (8, 16, 24), marks=pytest.mark.slow),
        pytest.param("laplace", (12, 24), marks=pytest.mark.slow),
    ],
)
def test_extending_until_significance_errs_as_often_as_computed(
    data: str, looks: tuple[int, ...]
) -> None:
    """The sign-flip test of equal arms at every look.

    Bound: three standard errors; few pairs attain slightly less, and other distributions up to half
    a percentage point more, but never more than the sum of the levels.
    """
    rng = np.random.default_rng(9)
    n_studies = 3_000
    wrong = 0
    for _ in range(n_studies):
        gains = getattr(rng, data)(size=looks[-1])
        wrong += any(sign_flip_p(gains[:n].tolist()) <= 0.05 for n in looks)
    chance = crossing_chance(looks, [stats.norm.ppf(0.975)] * len(looks))
    error = 3 * math.sqrt(chance * (1 - chance) / n_studies)
    assert chance - error - 0.01 <= wrong / n_studies <= chance + 0.005 + error
    assert wrong / n_studies <= len(looks) * ALPHA
    assert wrong / n_studies > 0.05 + 3 * math.sqrt(0.05 * 0.95 / n_studies)


def test_an_extended_study_has_the_probability_of_a_false_verdict(
    make_trials: Make, accuracy: Metric
) -> None:
    """At 12 and 24 pairs, 8.3 %; Pocock's level for two looks is 2.9 %."""
    values = {"baseline": [0.1 + i / 1000 for i in range(24)], "noisy": [0.9] * 24}
    design, trials = make_trials(values)
    extended = replace(design, extended_at=(12,))
    comparison = compare(extended, accuracy, trials, protocol={})
    assert (comparison.verdict, comparison.looks) == ("helps", (12,))
    assert comparison.false_verdict_chance == pytest.approx(
        crossing_chance([12, 24], [1.95996, 1.95996]), abs=1e-6
    )
    assert comparison.pocock_level == nominal_levels([12, 24], shape=POCOCK, alpha=0.05)[0]
    single_look = compare(design, accuracy, trials, protocol={})
    assert (single_look.looks, single_look.false_verdict_chance, single_look.pocock_level) == (
        (),
        0.05,
        None,
    )
    assert comparison.differences == single_look.differences


def test_the_probability_is_over_all_arms(make_trials: Make, accuracy: Metric) -> None:
    values = np.random.default_rng(2).normal(0.5, 0.1, size=(3, 20)).tolist()
    design, trials = make_trials(dict(zip(("baseline", "noisy", "constant"), values, strict=True)))
    bound = stats.norm.ppf(1 - 0.025 / 2)
    extended = replace(design, extended_at=(10,))
    chance = compare(extended, accuracy, trials, protocol={}).false_verdict_chance
    assert chance == pytest.approx(2 * crossing_chance([10, 20], [bound, bound]))


@pytest.mark.parametrize(
    ("looks", "kept"), [((8, 8, 40, 3), ()), ((6, 7, 6), (6, 7)), ((-1, 0), ())]
)
def test_looks_without_a_possible_verdict_on_fewer_seeds_do_not_count(
    make_trials: Make, accuracy: Metric, looks: tuple[int, ...], kept: tuple[int, ...]
) -> None:
    design, trials = make_trials({"baseline": [0.1] * 8, "noisy": [0.9] * 8})
    comparison = compare(replace(design, extended_at=looks), accuracy, trials, protocol={})
    assert comparison.looks == kept
    assert (comparison.pocock_level is not None) == bool(kept)


def test_an_extension_beyond_the_declared_looks_counts_every_look_at_its_level(
    make_trials: Make, accuracy: Metric
) -> None:
    values = {
        "baseline": [0.1 + i / 1000 for i in range(24)],
        "noisy": [0.9 - i / 500 for i in range(24)],
    }
    declared, trials = make_trials(values, confirm={"n_seeds": 24, "looks": [12, 18]})
    levels = nominal_levels([12, 18, 24], shape=OBRIEN_FLEMING, alpha=0.05)
    longer = replace(declared, n_seeds=20, extended_at=(12,))
    assert longer.looks == (12, 18, 24)
    first_trials = [t for t in trials if t.number < 20]
    comparison = compare(longer, accuracy, first_trials, protocol={})
    at_looks = (levels[0], levels[1], levels[-1], levels[-1])
    bounds = [-float(stats.norm.ppf(level / 2)) for level in at_looks]
    assert comparison.looks == (12,)
    assert comparison.false_verdict_chance == pytest.approx(
        crossing_chance([12, 18, 20, 24], bounds)
    )
    assert comparison.false_verdict_chance > ALPHA
    assert "early_stop" not in {finding.kind for finding in comparison.findings}
    assert longer.level == levels[-1]
    assert comparison.plan is not None
    assert comparison.plan.level == levels[-1]
    assert comparison.pocock_level is None
    unfinished = compare(
        replace(declared, n_seeds=30, extended_at=(24,)), accuracy, trials, protocol={}
    )
    assert (unfinished.looks, unfinished.is_final) == ((12, 18, 24), False)
    (difference,) = unfinished.differences
    assert difference.no_verdict is not None
    assert difference.no_verdict.model_dump() == {
        "kind": "waiting",
        "n_cancelled": 0,
        "undecided_at": (),
    }
