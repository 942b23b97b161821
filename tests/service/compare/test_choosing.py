"""Each arm's best setting is chosen on validation, whatever happened to the others."""

import random
from collections.abc import Callable

import pytest

from service.compare.choosing import choose, outcome
from service.domain.spec import StudySpec
from service.domain.study import Metric, Trial

Make = Callable[..., Trial]


def test_the_best_value_wins_by_the_metric_s_direction_and_of_equals_the_earlier(
    make_spec: Callable[..., StudySpec], make_trial: Make, accuracy: Metric, loss: Metric
) -> None:
    spec = make_spec()
    values = [0.5, 0.9, 0.2, 0.9, 0.2]
    trials = [make_trial(spec, "search", arm.name, i, value) for arm in spec.arms for i, value in enumerate(values)]
    random.Random(1).shuffle(trials)
    assert {name: t and t.number for name, t in choose(spec, accuracy, trials).items()} == {"baseline": 1, "noisy": 1}
    assert {name: t and t.number for name, t in choose(spec, loss, trials).items()} == {"baseline": 2, "noisy": 2}


def test_only_complete_search_trials_are_chosen_a_diverged_one_if_there_is_no_other(
    make_spec: Callable[..., StudySpec], make_trial: Make, loss: Metric
) -> None:
    spec = make_spec()
    trials = [
        make_trial(spec, "search", "baseline", 0, 0.1, state="pruned"),
        make_trial(spec, "search", "baseline", 1, 0.2, state="failed"),
        make_trial(spec, "search", "baseline", 2, 0.3, diverged=True),
        make_trial(spec, "search", "baseline", 3, float("nan")),
        make_trial(spec, "search", "baseline", 4, 7.0),
        make_trial(spec, "confirm", "baseline", 0, 0.0),
        make_trial(spec, "search", "noisy", 0, "failed"),
        make_trial(spec, "search", "noisy", 2, "diverged"),
        make_trial(spec, "search", "noisy", 1, "diverged"),
    ]
    assert {name: t and t.number for name, t in choose(spec, loss, trials).items()} == {"baseline": 4, "noisy": 1}


def test_an_arm_without_a_complete_trial_gets_none(make_spec: Callable[..., StudySpec], make_trial: Make, accuracy: Metric) -> None:
    spec = make_spec()
    assert choose(spec, accuracy, [make_trial(spec, "search", "noisy", 0, "failed")]) == {"baseline": None, "noisy": None}


@pytest.mark.parametrize(
    ("state", "value", "diverged", "expected"),
    [
        ("complete", 0.5, False, "complete"),
        ("complete", 0.5, True, "diverged"),
        ("complete", float("inf"), False, "diverged"),
        ("complete", None, False, "diverged"),
        ("waiting", None, False, "open"),
        ("running", None, False, "open"),
        ("pruned", 0.5, False, "pruned"),
        ("failed", 0.0, False, "failed"),
        ("cancelled", None, False, "cancelled"),
    ],
)
def test_every_state_counts_as_one_outcome(
    make_spec: Callable[..., StudySpec], make_trial: Make, state: str, value: float | None, diverged: bool, expected: str
) -> None:
    assert outcome(make_trial(make_spec(), "search", "noisy", 0, 0.0, state=state, value=value, diverged=diverged)) == expected
