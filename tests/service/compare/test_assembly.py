"""A comparison is the same for the same trials in any order, holds for all that trials can be, and
goes through JSON.
"""

import json
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradnoise_service.compare import Comparison, compare
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Trial

Make = Callable[..., tuple[StudySpec, list[Trial]]]
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
    spec, trials = make_trials({"baseline": BAD, "noisy": GOOD})
    comparison = compare(
        spec, accuracy, trials, protocol={"formula": "f", "versions": {"torch": "2"}}
    )
    (difference,) = comparison.differences
    assert (comparison.verdict, comparison.is_final, comparison.sentence) == (
        "helps",
        True,
        difference.sentence,
    )
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
    assert [arm.setting for arm in comparison.arms] == [
        {"lr": 0.04},
        {"lr": 0.04, "eta": 0.3, "gamma": pytest.approx(0.3)},
    ]


def test_by_a_metric_to_be_minimized_the_signs_turn(make_trials: Make, loss: Metric) -> None:
    spec, trials = make_trials({"baseline": BAD, "noisy": GOOD})
    comparison = compare(spec, loss, trials, protocol={})
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


def test_several_arms_are_each_held_against_the_first_at_a_stricter_level(
    make_trials: Make, accuracy: Metric
) -> None:
    spec, trials = make_trials({"baseline": BAD, "noisy": GOOD, "constant": BAD})
    noisy, constant = compare(spec, accuracy, trials, protocol={}).differences
    assert (noisy.verdict, constant.verdict) == ("helps", "no_difference")
    assert noisy.gain_interval is not None
    assert noisy.gain_interval.level == pytest.approx(0.975)
    assert (noisy.p_value, constant.p_value) == (2 * 2 ** (1 - 8), 1.0)


@pytest.mark.parametrize("lost", ["diverged", "failed"])
def test_lost_runs_are_losses(make_trials: Make, accuracy: Metric, lost: str) -> None:
    spec, trials = make_trials({"baseline": BAD, "noisy": [lost] * 7 + [0.9]})
    comparison = compare(spec, accuracy, trials, protocol={})
    assert (comparison.differences[0].n_worse, comparison.arms[1].lowest) == (7, 0.0)
    assert "7 of noisy's 8 runs were lost and count as 0." in comparison.sentence


def test_too_few_pairs_stay_undecided_without_an_interval(
    make_trials: Make, accuracy: Metric
) -> None:
    spec, trials = make_trials({"baseline": BAD[:5], "noisy": GOOD[:5]})
    difference = compare(spec, accuracy, trials, protocol={}).differences[0]
    assert (difference.verdict, difference.gain_interval, difference.further_seeds) == (
        "undecided",
        None,
        1,
    )
    assert difference.sentence.startswith(
        "Undecided: 5 paired seeds cannot tell a difference from chance, at least 6 are needed."
    )


@pytest.mark.parametrize("late", ["running", "waiting", "cancelled"])
def test_before_the_declared_end_there_is_no_verdict_however_clear_it_looks(
    make_trials: Make, accuracy: Metric, late: str
) -> None:
    spec, trials = make_trials({"baseline": BAD, "noisy": [*GOOD[:7], late]})
    comparison = compare(spec, accuracy, trials, protocol={})
    assert (comparison.verdict, comparison.is_final, comparison.differences[0].n) == (
        "undecided",
        False,
        7,
    )
    cancelled = "; 1 trial was cancelled" if late == "cancelled" else ""
    assert comparison.sentence.startswith(
        "No verdict: it is given once every declared trial has ended, and 8 of 8 search trials and "
        "15 of 16 confirm runs have"
        f"{cancelled}. So far: mean"
    )


def state(trials: list[Trial], phase: str, arm: str, **changes: object) -> list[Trial]:
    # fields by name
    return [replace(t, **changes) if (t.phase, t.arm) == (phase, arm) else t for t in trials]  # type: ignore[arg-type]


def test_what_cannot_be_compared_has_no_numbers(make_trials: Make, accuracy: Metric) -> None:
    spec, trials = make_trials({"baseline": BAD, "noisy": GOOD})
    failed = state(trials, "confirm", "noisy", state="failed", value=None)
    unsearched = [
        t
        for t in state(trials, "search", "noisy", state="failed", value=None)
        if (t.phase, t.arm) != ("confirm", "noisy")
    ]
    lost = state(
        state(trials, "confirm", "noisy", value=float("nan")), "confirm", "baseline", diverged=True
    )
    for table, words in (
        (failed, "No verdict: every confirm run of noisy failed with an error."),
        (
            unsearched,
            "No verdict: no search trial of noisy could be completed, so it has no setting to "
            "confirm.",
        ),
        (lost, "No verdict: every confirm run of baseline and of noisy was lost."),
    ):
        comparison = compare(spec, accuracy, table, protocol={})
        (difference,) = comparison.differences
        assert (comparison.sentence, comparison.is_final, comparison.verdict) == (
            words,
            True,
            "undecided",
        )
        assert (difference.n, difference.gain, difference.gain_interval, difference.p_value) == (
            0,
            None,
            None,
            None,
        )


def test_an_arm_that_was_cancelled_has_no_verdict_and_is_named(
    make_trials: Make, accuracy: Metric
) -> None:
    spec, trials = make_trials({"baseline": BAD, "noisy": ["cancelled"] * 8})
    comparison = compare(spec, accuracy, trials, protocol={})
    assert (comparison.verdict, comparison.is_final, comparison.differences[0].n) == (
        "undecided",
        False,
        0,
    )
    assert comparison.sentence.endswith(
        "8 of 8 search trials and 8 of 16 confirm runs have; 8 trials were cancelled."
    )
    assert (
        comparison.differences[0].gain,
        comparison.differences[0].probability_of_improvement,
    ) == (None, None)


def test_an_arm_without_a_finite_value_hurts_and_says_that_its_numbers_are_the_worst_value(
    make_trials: Make, loss: Metric
) -> None:
    spec, trials = make_trials({"baseline": BAD, "noisy": [float("nan")] * 8})
    comparison = compare(spec, loss, trials, protocol={})
    assert comparison.verdict == "hurts"
    assert comparison.sentence.endswith("8 of noisy's 8 runs were lost and count as 100.")
    assert (
        comparison.differences[0].n_worse,
        comparison.differences[0].probability_of_improvement,
    ) == (8, 0.0)
    assert any(
        "8 of noisy's 8 confirm trials diverged" in warning for warning in comparison.warnings
    )


def test_arms_that_tie_on_every_seed_make_no_difference_and_it_is_said_why(
    make_trials: Make, accuracy: Metric
) -> None:
    spec, trials = make_trials({"baseline": BAD, "noisy": BAD})
    comparison = compare(spec, accuracy, trials, protocol={})
    (difference,) = comparison.differences
    assert (comparison.verdict, difference.n_tied, difference.p_value) == ("no_difference", 8, 1.0)
    assert (
        "a difference of 0 (the same in every pair) over 8 paired seeds, better in 0, tied in 8"
        in comparison.sentence
    )
    for interval in (difference.gain_interval, difference.interquartile_interval):
        assert interval is not None
        assert (interval.low, interval.high, interval.method[:8]) == (0, 0, "no width")
    assert any("tied on every seed" in warning for warning in comparison.warnings)


def test_interquartile_mean_and_probability_of_improvement_stand_beside_the_mean(
    make_trials: Make, loss: Metric
) -> None:
    """By a loss: the difference keeps its sign, the chance is that of the smaller value."""
    spec, trials = make_trials(
        {"baseline": [0.5] * 8, "noisy": [0.1, 0.4, 0.4, 0.4, 0.4, 0.6, 0.5, 9.0]}
    )
    (difference,) = compare(spec, loss, trials, protocol={}).differences
    assert difference.interquartile_mean == pytest.approx(-0.075)
    assert difference.interquartile_interval is not None
    assert difference.interquartile_interval.low <= -0.075 <= difference.interquartile_interval.high
    assert difference.probability_of_improvement == difference.p_better == (5 + 1 / 2) / 8


@pytest.mark.parametrize(("base", "value"), [(1e-300, 1e99), (1e-17, 0.9), (0.0, 0.9)])
def test_a_baseline_next_to_0_has_no_relative_difference(
    make_trials: Make, accuracy: Metric, base: float, value: float
) -> None:
    spec, trials = make_trials({"baseline": [base] * 8, "noisy": [value] * 8})
    (difference,) = compare(spec, accuracy, trials, protocol={}).differences
    assert (difference.verdict, difference.relative) == ("helps", None)


def test_without_trials_there_is_a_comparison_that_says_so(
    make_trials: Make, accuracy: Metric
) -> None:
    spec, _ = make_trials({"baseline": BAD, "noisy": GOOD})
    comparison = compare(spec, accuracy, [], protocol={})
    assert comparison.sentence.endswith("0 of 8 search trials and 0 of 16 confirm runs have.")
    assert (comparison.search, [arm.setting for arm in comparison.arms]) == ((), [None, None])


@EXACT
@given(
    st.lists(values, min_size=2, max_size=9),
    st.lists(values, min_size=2, max_size=9),
    st.randoms(use_true_random=False),
)
def test_any_trials_in_any_order_give_one_comparison_that_json_keeps(
    make_trials: Make,
    accuracy: Metric,
    baseline: list[float | str],
    noisy: list[float | str],
    shuffled: random.Random,
) -> None:
    spec, trials = make_trials({"baseline": baseline, "noisy": noisy})
    comparison = compare(spec, accuracy, trials, protocol={"versions": {"torch": "2"}})
    shuffled.shuffle(trials)
    assert compare(spec, accuracy, trials, protocol={"versions": {"torch": "2"}}) == comparison
    text = json.dumps(comparison.model_dump(mode="json"), allow_nan=False)
    assert Comparison.model_validate(json.loads(text)) == comparison
    assert all(math.isfinite(number) for number in _numbers(json.loads(text)))


@EXACT
@given(st.lists(st.tuples(st.integers(0, 16), st.integers(0, 16)), min_size=6, max_size=9))
def test_swapping_the_arms_turns_every_difference_around(
    make_trials: Make, accuracy: Metric, pairs: list[tuple[int, int]]
) -> None:
    left, right = [a / 16 for a, _ in pairs], [b / 16 for _, b in pairs]
    there, back = (
        compare(
            *_study(make_trials, {"baseline": one, "noisy": other}, accuracy), protocol={}
        ).differences[0]
        for one, other in ((left, right), (right, left))
    )
    turned = {"helps": "hurts", "hurts": "helps"}
    assert back.verdict == turned.get(there.verdict, there.verdict)
    assert (back.gain, back.p_better) == pytest.approx(
        (-(there.gain or 0), 1 - (there.p_better or 0))
    )
    assert back.p_value == pytest.approx(there.p_value)
    assert back.gain_interval is not None
    assert there.gain_interval is not None
    assert (back.gain_interval.low, back.gain_interval.high) == pytest.approx(
        (-there.gain_interval.high, -there.gain_interval.low), abs=1e-9
    )


def _study(
    make_trials: Make, of_arms: Mapping[str, list[float]], metric: Metric
) -> tuple[StudySpec, Metric, list[Trial]]:
    spec, trials = make_trials(of_arms)
    return spec, metric, trials


def _numbers(plain: object) -> list[float]:
    if isinstance(plain, Mapping):
        return [number for value in plain.values() for number in _numbers(value)]
    if isinstance(plain, list):
        return [number for value in plain for number in _numbers(value)]
    return [plain] if isinstance(plain, float) else []
