"""What should make a reader pause is said."""

from collections.abc import Callable

import pytest

from gradnoise_service.compare import compare
from gradnoise_service.compare.cautions import described, edge
from gradnoise_service.domain.spec import Choices, Parameter, Range, StudySpec, Value
from gradnoise_service.domain.study import Metric, Trial

Make = Callable[..., tuple[StudySpec, list[Trial]]]


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        (Range(low=0.001, high=1.0, log=True), 0.0011, "lower"),
        (Range(low=0.001, high=1.0, log=True), 0.05, None),
        (Range(low=0.001, high=1.0, log=True), 0.9, "upper"),
        (Range(low=0.3, high=0.9), 0.32, "lower"),
        (Range(low=0.3, high=0.9), 0.4, None),
        (Range(low=1, high=40, integer=True), 2, None),
        (Range(low=1, high=40, integer=True), 40, "upper"),
        (Range(low=0, high=1, step=0.25), 0.0, "lower"),
        (Choices(choices=[1.0, 0.01, 0.3]), 1.0, "upper"),
        (Choices(choices=[1.0, 0.01, 0.3]), 0.3, None),
        (Choices(choices=[0.01, 1.0]), 1.0, None),
        (Choices(choices=["a", "b", "c"]), "a", None),
        (0.5, 0.5, None),
    ],
)
def test_a_value_at_the_end_of_its_space_is_noticed(
    parameter: Parameter, value: Value, expected: str | None
) -> None:
    assert edge(parameter, value) == expected


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        (Range(low=1, high=9, step=2, integer=True), "1 to 9, in steps of 2, whole"),
        (Choices(choices=[0.01, 1]), "one of 0.01, 1"),
        (0.9, "fixed at 0.9"),
    ],
)
def test_a_space_is_described_in_words(parameter: Parameter, expected: str) -> None:
    assert described(parameter) == expected


def test_losses_ties_and_edges_are_warned_of(make_trials: Make, accuracy: Metric) -> None:
    spec, trials = make_trials(
        {"baseline": [0.1, 0.1, 0.1], "noisy": [0.1, 0.1, 0.1]},
        space={"lr": {"low": 0.001, "high": 0.04}},
    )
    warnings = compare(spec, accuracy, trials, protocol={}).warnings
    assert warnings == (
        "noisy and baseline tied on every seed: is the metric too coarse, or did neither learn "
        "anything?",
        "baseline's chosen lr = 0.04 lies at the upper end of its space (0.001 to 0.04): a better "
        "value may lie beyond.",
        "noisy's chosen lr = 0.04 lies at the upper end of its space (0.001 to 0.04): a better "
        "value may lie beyond.",
    )
    spec, trials = make_trials({"baseline": [0.1, "failed", 0.1], "noisy": ["diverged", 0.3, 0.2]})
    assert compare(spec, accuracy, trials, protocol={}).warnings == (
        "1 of baseline's 3 confirm trials failed with an error: a lost run counts as the metric's "
        "worst value.",
        "1 of noisy's 3 confirm trials diverged: a lost run counts as the metric's worst value.",
    )


def test_a_setting_chosen_among_diverged_trials_is_called_untuned(
    make_trials: Make, make_trial: Callable[..., Trial], accuracy: Metric
) -> None:
    spec, trials = make_trials({"baseline": [0.1, 0.2], "noisy": [0.2, 0.3]})
    trials = [t for t in trials if (t.phase, t.arm) != ("search", "noisy")]
    trials += [make_trial(spec, "search", "noisy", i, "diverged") for i in range(4)]
    assert any(
        "a tuned one" in warning
        for warning in compare(spec, accuracy, trials, protocol={}).warnings
    )


def test_what_was_held_equal_tells_of_the_split_that_the_verdict_is_about(
    make_trials: Make, accuracy: Metric
) -> None:
    spec, trials = make_trials({"baseline": [0.1, 0.2], "noisy": [0.3, 0.2]})
    held = {
        fact.name: fact.value for fact in compare(spec, accuracy, trials, protocol={}).held_equal
    }
    assert held["Data"].endswith(
        "unless it splits by the seed, it has one fixed split, and the verdict is about that one"
    )


def test_arms_of_which_every_run_was_lost_are_not_called_tied(
    make_trials: Make, accuracy: Metric
) -> None:
    spec, trials = make_trials({"baseline": ["diverged"] * 6, "noisy": ["diverged"] * 6})
    assert not any(
        "tied" in warning for warning in compare(spec, accuracy, trials, protocol={}).warnings
    )


def test_one_is_told_in_the_singular(make_trials: Make, accuracy: Metric) -> None:
    search = {"n_trials": 1, "epochs": 1, "rerun": {"top": 3, "n_seeds": 1}}
    spec, trials = make_trials(
        {"baseline": [0.1] * 6, "noisy": [0.2] * 6}, n_search=1, search=search
    )
    facts = {
        fact.name: fact.value for fact in compare(spec, accuracy, trials, protocol={}).held_equal
    }
    assert facts["Search budget"].startswith("1 trial of 1 epoch, sampler")
    assert facts["Selection"].startswith(
        "each arm's best 1 setting on validation ran again on 1 other seed, "
    )
    assert facts["Confirmation"].endswith("(initialisation, data order), 1 epoch")


def test_declared_looks_make_the_number_of_seeds_an_upper_bound(
    make_trials: Make, accuracy: Metric
) -> None:
    spec, trials = make_trials(
        {"baseline": [0.1] * 12, "noisy": [0.2] * 12}, confirm={"n_seeds": 24, "looks": [12]}
    )
    facts = {
        fact.name: fact.value for fact in compare(spec, accuracy, trials, protocol={}).held_equal
    }
    assert facts["Confirmation"].startswith("up to 24 fresh seeds")
