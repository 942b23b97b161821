"""A comparison exists for any trials, does not depend on their order, and passes through JSON."""

import json
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradnoise_service.compare.assembly import compare
from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.compare.facts.findings import (
    AllTied,
    EveryRunFailed,
    EveryRunLost,
    EveryTrialLost,
    LostTrials,
    NeitherLearned,
    NoSetting,
    TooFewPairs,
    Waiting,
)
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import Metric, Trial

Make = Callable[..., tuple[Design, list[Trial]]]
GOOD = [0.9, 0.8, 0.85, 0.9, 0.95, 0.9, 0.7, 0.88]
BAD = [0.1, 0.2, 0.15, 0.1, 0.05, 0.1, 0.3, 0.12]
EXACT = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
odd = [
    1e300,
    -1e99,
    1e-300,
    float("inf"),
    float("nan"),
    "diverged",
    "failed",
    "cancelled",
    "running",
]
values = st.one_of(st.integers(0, 8).map(lambda k: k / 8), st.sampled_from(odd))


def test_a_clear_effect_helps_with_its_numbers(make_trials: Make, accuracy: Metric) -> None:
    design, trials = make_trials({"baseline": BAD, "noisy": GOOD})
    comparison = compare(
        design, accuracy, trials, protocol={"formula": "f", "versions": {"torch": "2"}}
    )
    (difference,) = comparison.differences
    assert (comparison.verdict, difference.verdict, comparison.is_final) == ("helps", "helps", True)
    assert (difference.reason, difference.no_verdict) == ("interval_beyond", None)
    assert difference.gain == difference.difference == pytest.approx(sum(GOOD) / 8 - sum(BAD) / 8)
    assert difference.relative == pytest.approx((sum(GOOD) - sum(BAD)) / sum(BAD))
    assert (difference.n, difference.n_better, difference.n_worse, difference.n_tied) == (
        8,
        8,
        0,
        0,
    )
    assert (difference.p_better, difference.p_value) == (1.0, 2 ** (1 - 8))
    assert comparison.protocol == {"formula": "f", "versions": {"torch": "2"}}
    assert [arm.chosen[0].setting for arm in comparison.arms] == [
        {"lr": 0.04},
        {"lr": 0.04, "eta": 0.3, "gamma": pytest.approx(0.3)},
    ]


def test_a_metric_to_be_minimized_reverses_the_signs(make_trials: Make, loss: Metric) -> None:
    design, trials = make_trials({"baseline": BAD, "noisy": GOOD})
    comparison = compare(design, loss, trials, protocol={})
    (difference,) = comparison.differences
    assert comparison.verdict == "hurts"
    assert difference.gain is not None
    assert difference.gain_interval is not None
    assert difference.difference_interval is not None
    assert (difference.difference, difference.p_better) == (-difference.gain, 0.0)
    assert (difference.difference_interval.low, difference.difference_interval.high) == (
        -difference.gain_interval.high,
        -difference.gain_interval.low,
    )


def test_several_arms_are_each_compared_with_the_first_at_a_stricter_level(
    make_trials: Make, accuracy: Metric
) -> None:
    design, trials = make_trials({"baseline": BAD, "noisy": GOOD, "constant": BAD})
    noisy, constant = compare(design, accuracy, trials, protocol={}).differences
    assert (noisy.verdict, constant.verdict) == ("helps", "no_difference")
    assert noisy.gain_interval is not None
    assert noisy.gain_interval.level == pytest.approx(0.975)
    assert (noisy.p_value, constant.p_value) == (2 * 2 ** (1 - 8), 1.0)


@pytest.mark.parametrize("lost", ["diverged", "failed"])
def test_lost_runs_are_losses(make_trials: Make, accuracy: Metric, lost: str) -> None:
    design, trials = make_trials({"baseline": BAD, "noisy": [lost] * 7 + [0.9]})
    comparison = compare(design, accuracy, trials, protocol={})
    assert (comparison.differences[0].n_worse, comparison.arms[1].lowest) == (7, 0.0)
    assert (comparison.differences[0].n_lost, comparison.differences[0].baseline_n_lost) == (7, 0)


def test_too_few_pairs_stay_undecided_without_an_interval(
    make_trials: Make, accuracy: Metric
) -> None:
    design, trials = make_trials({"baseline": BAD[:5], "noisy": GOOD[:5]})
    difference = compare(design, accuracy, trials, protocol={}).differences[0]
    assert (difference.verdict, difference.gain_interval, difference.further_seeds) == (
        "undecided",
        None,
        1,
    )
    assert difference.no_verdict == TooFewPairs(n_needed=6)


@pytest.mark.parametrize("late", ["running", "waiting", "cancelled"])
def test_before_the_declared_end_there_is_no_verdict(
    make_trials: Make, accuracy: Metric, late: str
) -> None:
    design, trials = make_trials({"baseline": BAD, "noisy": [*GOOD[:7], late]})
    comparison = compare(design, accuracy, trials, protocol={})
    assert (comparison.verdict, comparison.is_final, comparison.differences[0].n) == (
        "undecided",
        False,
        7,
    )
    assert comparison.differences[0].no_verdict == Waiting(n_cancelled=int(late == "cancelled"))
    assert comparison.differences[0].gain_interval is not None
    assert sum(arm.search.n_ended for arm in comparison.arms) == 8
    assert sum(arm.confirm.n_ended for arm in comparison.arms) == 15


def with_changes(trials: list[Trial], phase: str, arm: str, **changes: object) -> list[Trial]:
    # fields by name
    return [replace(t, **changes) if (t.phase, t.arm) == (phase, arm) else t for t in trials]  # type: ignore[arg-type]


def test_an_arm_that_cannot_be_compared_has_no_numbers(make_trials: Make, accuracy: Metric) -> None:
    design, trials = make_trials({"baseline": BAD, "noisy": GOOD})
    failed = with_changes(trials, "confirm", "noisy", state="failed", value=None)
    unsearched = [
        t
        for t in with_changes(trials, "search", "noisy", state="failed", value=None)
        if (t.phase, t.arm) != ("confirm", "noisy")
    ]
    lost = with_changes(
        with_changes(trials, "confirm", "noisy", value=float("nan")),
        "confirm",
        "baseline",
        diverged=True,
    )
    for table, reason in (
        (failed, EveryRunFailed(arm="noisy")),
        (unsearched, NoSetting(arm="noisy")),
        (lost, EveryRunLost()),
    ):
        comparison = compare(design, accuracy, table, protocol={})
        (difference,) = comparison.differences
        assert difference.no_verdict == reason
        assert (comparison.is_final, comparison.verdict) == (True, "undecided")
        assert (difference.n, difference.gain, difference.gain_interval, difference.p_value) == (
            0,
            None,
            None,
            None,
        )


@pytest.mark.parametrize("phase", ["search", "rerun"])
def test_an_arm_whose_setting_is_selected_among_lost_trials_has_no_verdict(
    make_trials: Make, make_trial: Callable[..., Trial], accuracy: Metric, phase: str
) -> None:
    """A study with looks ends at the first: more seeds do not tune the arm."""
    confirm = {"n_seeds": 24, "looks": [8, 16], "boundary": "pocock"}
    search = {"n_trials": 4, "epochs": 3, "rerun": {"top": 2, "n_seeds": 2}}
    design, trials = make_trials({"baseline": BAD, "noisy": GOOD}, confirm=confirm, search=search)
    trials += [
        make_trial(design, "rerun", arm, i, 0.5) for arm in ("baseline", "noisy") for i in range(4)
    ]
    lost = with_changes(trials, phase, "noisy", value=0.0, diverged=True)
    comparison = compare(design, accuracy, lost, protocol={})
    (difference,) = comparison.differences
    assert difference.no_verdict == EveryTrialLost(arm="noisy", phase=phase)  # type: ignore[arg-type]
    assert (comparison.is_final, difference.n, difference.gain) == (True, 0, None)


CHANCE = [0.4867] * 8


@pytest.mark.parametrize(
    ("noisy", "untrained", "verdict"),
    [
        (CHANCE, 0.5, "neither"),
        (CHANCE, 0.48, "neither"),  # better by less than the smallest difference, 0.02
        ([0.3] * 7 + ["diverged"], 0.5, "neither"),
        (CHANCE, 0.46, "no_difference"),
        (CHANCE, None, "no_difference"),
        ([0.9] + [0.3] * 7, 0.5, "undecided"),
        ([0.8, 0.9] * 4, 0.5, "helps"),
    ],
)
def test_arms_at_the_level_of_the_untrained_model_have_not_learned(
    make_trials: Make,
    accuracy: Metric,
    noisy: list[float | str],
    untrained: float | None,
    verdict: str,
) -> None:
    design, trials = make_trials({"baseline": CHANCE, "noisy": noisy})
    protocol = {} if untrained is None else {"untrained": {"best": untrained, "n_seeds": 5}}
    (difference,) = compare(design, accuracy, trials, protocol=protocol).differences
    if verdict == "neither":
        assert difference.no_verdict == NeitherLearned(best=untrained or 0.0, n_seeds=5)
        assert (difference.verdict, difference.baseline_mean) == ("undecided", 0.4867)
    else:
        assert (difference.verdict, difference.no_verdict) == (verdict, None)


def test_a_loss_must_be_below_that_of_the_untrained_model(make_trials: Make, loss: Metric) -> None:
    protocol = {"untrained": {"best": 2.303, "n_seeds": 5}}
    for value, has_learned in ((2.29, False), (2.28, True)):
        design, trials = make_trials({"baseline": [2.303] * 8, "noisy": [value] * 8})
        (difference,) = compare(design, loss, trials, protocol=protocol).differences
        assert (difference.no_verdict is None) == has_learned


def test_a_cancelled_arm_has_no_verdict(make_trials: Make, accuracy: Metric) -> None:
    design, trials = make_trials({"baseline": BAD, "noisy": ["cancelled"] * 8})
    comparison = compare(design, accuracy, trials, protocol={})
    assert (comparison.verdict, comparison.is_final, comparison.differences[0].n) == (
        "undecided",
        False,
        0,
    )
    assert comparison.differences[0].no_verdict == Waiting(n_cancelled=8)
    assert sum(arm.confirm.n_ended for arm in comparison.arms) == 8
    assert (
        comparison.differences[0].gain,
        comparison.differences[0].probability_of_improvement,
    ) == (None, None)


def test_an_arm_without_a_finite_value_hurts_with_the_worst_value(
    make_trials: Make, loss: Metric
) -> None:
    design, trials = make_trials({"baseline": BAD, "noisy": [float("nan")] * 8})
    comparison = compare(design, loss, trials, protocol={})
    assert comparison.verdict == "hurts"
    assert (comparison.differences[0].n_lost, comparison.differences[0].mean) == (8, 100.0)
    assert (
        comparison.differences[0].n_worse,
        comparison.differences[0].probability_of_improvement,
    ) == (8, 0.0)
    assert (
        LostTrials(arm="noisy", phase="confirm", outcome="diverged", n=8, n_declared=8)
        in comparison.findings
    )


def test_arms_that_tie_on_every_seed_make_no_difference(
    make_trials: Make, accuracy: Metric
) -> None:
    design, trials = make_trials({"baseline": BAD, "noisy": BAD})
    comparison = compare(design, accuracy, trials, protocol={})
    (difference,) = comparison.differences
    assert (comparison.verdict, difference.n_tied, difference.p_value) == ("no_difference", 8, 1.0)
    assert (difference.difference, difference.n, difference.n_better) == (0.0, 8, 0)
    for interval in (difference.gain_interval, difference.interquartile_interval):
        assert interval is not None
        assert (interval.low, interval.high, interval.method) == (0, 0, "no_width_equal")
    assert comparison.findings[-1] == AllTied(arm="noisy", baseline="baseline")


def test_a_difference_has_its_interquartile_mean_and_probability_of_improvement(
    make_trials: Make, loss: Metric
) -> None:
    """For a loss the difference keeps its sign, and the probability is that of a smaller value."""
    design, trials = make_trials(
        {"baseline": [0.5] * 8, "noisy": [0.1, 0.4, 0.4, 0.4, 0.4, 0.6, 0.5, 9.0]}
    )
    (difference,) = compare(design, loss, trials, protocol={}).differences
    assert difference.interquartile_mean == pytest.approx(-0.075)
    assert difference.interquartile_interval is not None
    assert difference.interquartile_interval.low <= -0.075 <= difference.interquartile_interval.high
    assert difference.probability_of_improvement == difference.p_better == (5 + 1 / 2) / 8


@pytest.mark.parametrize(("base", "value"), [(1e-300, 1e99), (1e-17, 0.9), (0.0, 0.9)])
def test_a_baseline_next_to_0_has_no_relative_difference(
    make_trials: Make, accuracy: Metric, base: float, value: float
) -> None:
    design, trials = make_trials({"baseline": [base] * 8, "noisy": [value] * 8})
    (difference,) = compare(design, accuracy, trials, protocol={}).differences
    assert (difference.verdict, difference.relative) == ("helps", None)


def test_without_trials_there_is_a_comparison_without_a_verdict(
    make_trials: Make, accuracy: Metric
) -> None:
    design, _ = make_trials({"baseline": BAD, "noisy": GOOD})
    comparison = compare(design, accuracy, [], protocol={})
    assert comparison.differences[0].no_verdict == Waiting()
    assert [arm.search.n_ended + arm.confirm.n_ended for arm in comparison.arms] == [0, 0]
    assert (comparison.search, [arm.chosen[0].setting for arm in comparison.arms]) == (
        (),
        [None, None],
    )


@EXACT
@given(
    st.lists(values, min_size=2, max_size=9),
    st.lists(values, min_size=2, max_size=9),
    st.randoms(use_true_random=False),
)
def test_any_trials_in_any_order_give_an_equal_comparison_that_passes_through_json(
    make_trials: Make,
    accuracy: Metric,
    baseline: list[float | str],
    noisy: list[float | str],
    shuffled: random.Random,
) -> None:
    design, trials = make_trials({"baseline": baseline, "noisy": noisy})
    comparison = compare(design, accuracy, trials, protocol={"versions": {"torch": "2"}})
    shuffled.shuffle(trials)
    assert compare(design, accuracy, trials, protocol={"versions": {"torch": "2"}}) == comparison
    text = json.dumps(comparison.model_dump(mode="json"), allow_nan=False)
    assert Comparison.model_validate(json.loads(text)) == comparison
    assert all(math.isfinite(number) for number in _numbers(json.loads(text)))


@pytest.mark.slow
@EXACT
@given(st.lists(st.tuples(st.integers(0, 16), st.integers(0, 16)), min_size=6, max_size=9))
def test_swapping_the_arms_negates_every_difference(
    make_trials: Make, accuracy: Metric, pairs: list[tuple[int, int]]
) -> None:
    left, right = [a / 16 for a, _ in pairs], [b / 16 for _, b in pairs]
    forward, reverse = (
        compare(
            *_study(make_trials, {"baseline": baseline, "noisy": noisy}, accuracy), protocol={}
        ).differences[0]
        for baseline, noisy in ((left, right), (right, left))
    )
    opposite = {"helps": "hurts", "hurts": "helps"}
    assert reverse.verdict == opposite.get(forward.verdict, forward.verdict)
    assert (reverse.gain, reverse.p_better) == pytest.approx(
        (-(forward.gain or 0), 1 - (forward.p_better or 0))
    )
    assert reverse.p_value == pytest.approx(forward.p_value)
    assert reverse.gain_interval is not None
    assert forward.gain_interval is not None
    assert (reverse.gain_interval.low, reverse.gain_interval.high) == pytest.approx(
        (-forward.gain_interval.high, -forward.gain_interval.low), abs=1e-9
    )


def _study(
    make_trials: Make, values: Mapping[str, list[float]], metric: Metric
) -> tuple[Design, Metric, list[Trial]]:
    design, trials = make_trials(values)
    return design, metric, trials


def _numbers(node: object) -> list[float]:
    if isinstance(node, Mapping):
        return [number for value in node.values() for number in _numbers(value)]
    if isinstance(node, list):
        return [number for value in node for number in _numbers(value)]
    return [node] if isinstance(node, float) else []
