"""Declared looks: a study ends at the first that decides; each look has its own level."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from gradnoise_service.compare.assembly import compare
from gradnoise_service.compare.facts.findings import EarlyStop, Waiting
from gradnoise_service.compare.power import chances
from gradnoise_service.compare.sign_flips import sign_flip_p
from gradnoise_service.compare.verdict import adjusted
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.looks import OBRIEN_FLEMING, POCOCK, nominal_levels
from gradnoise_service.domain.sequential import ALPHA
from gradnoise_service.domain.study import Metric, Trial
from simulated_verdict import simulated_verdict

Make = Callable[..., tuple[Design, list[Trial]]]
PLAN = (12, 18, 24)
CONFIRM = {"n_seeds": 24, "looks": [12, 18]}
BASE = [0.1 + i / 1000 for i in range(24)]
CLEAR = [0.9 - i / 500 for i in range(24)]
MIXED = [0.4 if i % 2 else -0.2 for i in range(24)]


@pytest.mark.parametrize(
    ("boundary", "shape"), [("obrien_fleming", OBRIEN_FLEMING), ("pocock", POCOCK)]
)
def test_each_look_has_its_nominal_level(
    make_trials: Make, accuracy: Metric, boundary: str, shape: float
) -> None:
    confirm = CONFIRM | {"boundary": boundary}
    values = {"baseline": BASE[:12], "noisy": CLEAR[:12]}
    design, trials = make_trials(values, confirm=confirm)
    comparison = compare(design, accuracy, trials, protocol={})
    levels = nominal_levels(PLAN, shape=shape, alpha=0.05)
    assert comparison.plan is not None
    plan = comparison.plan
    assert (plan.looks, plan.levels, plan.n_seeds) == (PLAN, tuple(levels), 12)
    assert plan.level == levels[0]
    (difference,) = comparison.differences
    assert difference.gain_interval is not None
    assert difference.gain_interval.level == 1 - levels[0]
    fixed, trials = make_trials(values)
    once = compare(fixed, accuracy, trials, protocol={}).differences[0]
    assert once.gain_interval is not None
    assert (
        difference.gain_interval.low
        < once.gain_interval.low
        < once.gain_interval.high
        < difference.gain_interval.high
    )


def test_a_decisive_look_ends_the_study_early(make_trials: Make, accuracy: Metric) -> None:
    design, trials = make_trials({"baseline": BASE[:12], "noisy": CLEAR[:12]}, confirm=CONFIRM)
    comparison = compare(design, accuracy, trials, protocol={})
    assert (comparison.verdict, comparison.is_final, len(comparison.seeds)) == ("helps", True, 12)
    assert EarlyStop(n_seeds=12, n_declared=24) in comparison.findings
    assert (comparison.looks, comparison.false_verdict_chance) == ((), ALPHA)


@pytest.mark.parametrize(
    ("n_declared", "n_seeds", "undecided_at", "is_final"),
    [
        (0, 12, (), False),
        (11, 12, (), False),
        (12, 12, (12,), False),
        (17, 18, (12,), False),
        (18, 18, (12, 18), False),
        (24, 24, (), True),
    ],
)
def test_an_undecided_look_is_not_final_before_the_last(
    make_trials: Make,
    accuracy: Metric,
    n_declared: int,
    n_seeds: int,
    undecided_at: tuple[int, ...],
    is_final: bool,
) -> None:
    values = {"baseline": BASE[:n_declared], "noisy": MIXED[:n_declared]}
    design, trials = make_trials(values, confirm=CONFIRM)
    comparison = compare(design, accuracy, trials, protocol={})
    (difference,) = comparison.differences
    assert comparison.plan is not None
    assert (comparison.plan.n_seeds, len(comparison.seeds)) == (n_seeds, n_seeds)
    assert (comparison.verdict, comparison.is_final) == ("undecided", is_final)
    expected = None if is_final else Waiting(undecided_at=undecided_at)
    assert difference.no_verdict == expected
    assert "early_stop" not in {finding.kind for finding in comparison.findings}


def test_trials_declared_beyond_an_undecided_look_belong_to_the_next(
    make_trials: Make, make_trial: Callable[..., Trial], accuracy: Metric
) -> None:
    """The comparison is the same whether the next look was declared before or after a crash."""
    design, trials = make_trials({"baseline": BASE[:12], "noisy": MIXED[:12]}, confirm=CONFIRM)
    assert compare(design, accuracy, trials, protocol={}).is_final is False
    following = design.at_look(12).after_look()
    assert following.n_seeds == 18
    trials += [
        make_trial(design, "confirm", arm, number, "waiting")
        for arm in ("baseline", "noisy")
        for number in range(12, 18)
    ]
    comparison = compare(design, accuracy, trials, protocol={})
    assert (len(comparison.seeds), comparison.is_final) == (18, False)
    assert comparison.differences[0].no_verdict == Waiting(undecided_at=(12,))


def test_a_study_of_several_arms_continues_until_each_is_decided(
    make_trials: Make, accuracy: Metric
) -> None:
    first = {"baseline": BASE[:12], "noisy": CLEAR[:12], "constant": MIXED[:12]}
    design, trials = make_trials(first, confirm=CONFIRM)
    undecided = compare(design, accuracy, trials, protocol={})
    assert [d.verdict for d in undecided.differences] == ["undecided", "undecided"]
    assert [d.no_verdict for d in undecided.differences] == [Waiting(undecided_at=(12,))] * 2
    decided, trials = make_trials(first | {"constant": BASE[:12]}, confirm=CONFIRM)
    comparison = compare(decided, accuracy, trials, protocol={})
    assert (comparison.is_final, len(comparison.seeds)) == (True, 12)
    assert [d.verdict for d in comparison.differences] == ["helps", "no_difference"]
    assert comparison.plan is not None
    assert comparison.plan.levels[0] == nominal_levels(PLAN, shape=OBRIEN_FLEMING, alpha=0.025)[0]
    # Holm would leave the second at 0.03
    assert adjusted(design, {"noisy": 0.01, "constant": 0.03}) == {"noisy": 0.02, "constant": 0.06}


def test_an_arm_without_a_setting_does_not_keep_the_study_running(
    make_trials: Make, make_trial: Callable[..., Trial], accuracy: Metric
) -> None:
    design, trials = make_trials({"baseline": BASE[:12], "noisy": []}, confirm=CONFIRM)
    others = [t for t in trials if (t.phase, t.arm) != ("search", "noisy")]
    searching = compare(design, accuracy, others, protocol={})
    assert (searching.is_final, len(searching.seeds)) == (False, 12)
    failed = [make_trial(design, "search", "noisy", i, "failed") for i in range(4)]
    ended = compare(design, accuracy, [*others, *failed], protocol={})
    assert (ended.is_final, len(ended.seeds), ended.verdict) == (True, 12, "undecided")


def test_the_level_of_a_strict_look_is_not_rounded_to_1(
    make_trials: Make, accuracy: Metric
) -> None:
    values = {
        "baseline": [0.5 + 0.001 * (i % 7) for i in range(40)],
        "noisy": [0.6 + 0.001 * (i % 5) for i in range(40)],
    }
    design, trials = make_trials(values, confirm={"n_seeds": 400, "looks": [40]})
    comparison = compare(design, accuracy, trials, protocol={})
    assert comparison.verdict == "helps"
    interval = comparison.differences[0].gain_interval
    assert interval is not None
    assert 1 - interval.level == pytest.approx(5.7e-10, rel=0.02)


def _ends(gains: np.ndarray, design: Design) -> tuple[str, int]:
    """Return verdict and seeds of the first look that decides.

    Without a significant test the verdict is undecided, so the interval need not be computed.
    """
    for n in design.looks:
        at_look, gains_at_look = design.at(n), gains[:n].tolist()
        p = sign_flip_p(gains_at_look)
        if p <= at_look.level:
            verdict = simulated_verdict(at_look, gains_at_look, p)
            if verdict != "undecided":
                return verdict, n
    return "undecided", design.n_seeds


def _simulated(
    rng: np.random.Generator,
    n_studies: int,
    mean: float,
    sd: float,
    design: Design,
) -> tuple[float, float]:
    """Return the share of studies that call the arm better or worse, and their mean seeds."""
    ends = [_ends(rng.normal(mean, sd, design.n_seeds), design) for _ in range(n_studies)]
    different = sum(verdict in ("helps", "hurts") for verdict, _ in ends)
    return different / n_studies, sum(n for _, n in ends) / n_studies


@pytest.mark.parametrize(
    "boundary", ["obrien_fleming", pytest.param("pocock", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("n_studies", [600, pytest.param(6_000, marks=pytest.mark.slow)])
def test_over_all_looks_equal_arms_are_called_different_in_at_most_5_percent(
    make_trials: Make, boundary: str, n_studies: int
) -> None:
    """Bound: three standard errors of the simulation.

    The smallest difference is so small that no look ends in `no_difference`.
    """
    design, _ = make_trials(
        {"baseline": [], "noisy": []},
        confirm=CONFIRM | {"boundary": boundary},
        smallest_difference=1e-9,
    )
    wrong, _ = _simulated(np.random.default_rng(5), n_studies, 0.0, 1.0, design)
    assert wrong <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / n_studies)


@pytest.mark.parametrize(
    ("boundary", "loss"),
    [("obrien_fleming", 0.03), pytest.param("pocock", 0.10, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("n_studies", [150, pytest.param(1_000, marks=pytest.mark.slow)])
def test_a_true_effect_is_detected_with_fewer_seeds_than_without_looks(
    make_trials: Make, boundary: str, loss: float, n_studies: int
) -> None:
    """A gain of 0.8 standard deviations, which a single look at 24 seeds detects in 95 %.

    Pocock's boundary uses more of the error at the first looks and saves more seeds.

    Bound: three standard errors, and the loss of power by looks.
    """
    design, _ = make_trials(
        {"baseline": [], "noisy": []},
        confirm=CONFIRM | {"boundary": boundary},
        smallest_difference=1e-9,
    )
    fixed = chances(24, 0.8, 1.0, smallest_difference=1e-9, level=0.95)["helps"]
    power, mean_seeds = _simulated(np.random.default_rng(6), n_studies, 0.8, 1.0, design)
    assert fixed - loss - 3 * math.sqrt(fixed * (1 - fixed) / n_studies) <= power <= 1
    assert mean_seeds <= 0.8 * 24
