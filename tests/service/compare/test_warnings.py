"""Findings: the reasons to doubt a verdict."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from gradnoise_service.compare.assembly import compare
from gradnoise_service.compare.facts.findings import (
    AllTied,
    AtEdge,
    CodeChanged,
    LostTrials,
    NoiseScale,
    NoTestData,
    Retried,
    StillLearning,
    UnequalBudgets,
    UnequalDivergence,
    UntunedSetting,
)
from gradnoise_service.compare.warnings import edge
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.space import Choices, Range, SpaceEntry, Value
from gradnoise_service.domain.study import EpochMean, Metric, Trial

Make = Callable[..., tuple[Design, list[Trial]]]
ENOUGH = {"n_trials": 30, "epochs": 3, "sampler": "random", "rerun": {"n_seeds": 0}}
"""A search that is not too small, of which only 4 trials have ended."""


@pytest.mark.parametrize(
    ("entry", "value", "expected"),
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
def test_a_value_at_the_end_of_its_range_is_at_the_edge(
    entry: SpaceEntry, value: Value, expected: str | None
) -> None:
    assert edge(entry, value) == expected


def test_a_workload_without_test_data_is_judged_on_validation(
    make_trials: Make, accuracy: Metric
) -> None:
    design, trials = make_trials({"baseline": [0.1, 0.2, 0.3], "noisy": [0.2, 0.3, 0.5]})
    untested = replace(accuracy, has_test=False)
    found = compare(design, untested, trials, protocol={})
    assert (found.split, NoTestData() in found.findings) == ("validation", True)
    tested = compare(design, accuracy, trials, protocol={})
    assert (tested.split, NoTestData() in tested.findings) == ("test", False)


def test_ties_and_chosen_values_at_an_edge_are_found(make_trials: Make, accuracy: Metric) -> None:
    design, trials = make_trials(
        {"baseline": [0.1, 0.1, 0.1], "noisy": [0.1, 0.1, 0.1]},
        space={"lr": {"low": 0.001, "high": 0.04}},
        search=ENOUGH,
    )
    assert compare(design, accuracy, trials, protocol={}).findings == (
        AllTied(arm="noisy", baseline="baseline"),
        AtEdge(arm="baseline", parameter="lr", values=(0.04,), end="upper"),
        AtEdge(arm="noisy", parameter="lr", values=(0.04,), end="upper"),
    )


def test_lost_trials_are_found_by_phase_and_outcome(make_trials: Make, accuracy: Metric) -> None:
    values = {"baseline": [0.1, "failed", 0.1], "noisy": ["diverged", 0.3, 0.2]}
    design, trials = make_trials(values, search=ENOUGH)
    trials = [replace(t, error="KeyError: 1") if t.state == "failed" else t for t in trials]
    assert compare(design, accuracy, trials, protocol={}).findings == (
        LostTrials(
            arm="baseline",
            phase="confirm",
            outcome="failed",
            n=1,
            n_declared=3,
            error="KeyError: 1",
        ),
        LostTrials(arm="noisy", phase="confirm", outcome="diverged", n=1, n_declared=3),
    )


def test_a_setting_chosen_among_diverged_trials_is_untuned(
    make_trials: Make, make_trial: Callable[..., Trial], accuracy: Metric
) -> None:
    design, trials = make_trials({"baseline": [0.1, 0.2], "noisy": [0.2, 0.3]})
    trials = [t for t in trials if (t.phase, t.arm) != ("search", "noisy")]
    trials += [make_trial(design, "search", "noisy", i, "diverged") for i in range(4)]
    found = compare(design, accuracy, trials, protocol={}).findings
    assert UntunedSetting(arm="noisy") in found


def test_arms_with_only_lost_runs_are_not_tied(make_trials: Make, accuracy: Metric) -> None:
    design, trials = make_trials(
        {"baseline": ["diverged"] * 6, "noisy": ["diverged"] * 6}, search=ENOUGH
    )
    kinds = {finding.kind for finding in compare(design, accuracy, trials, protocol={}).findings}
    assert kinds == {"lost_trials"}


def test_unequal_budgets_are_the_first_finding(make_trials: Make, accuracy: Metric) -> None:
    noise = {"technique": "annealed", "space": {"eta": 0.3, "gamma": 0.5}, "n_trials": 9}
    arms = [{"name": "baseline", "technique": "none"}, {"name": "noisy"} | noise]
    design, trials = make_trials(
        {"baseline": [0.1] * 6, "noisy": [0.5] * 6}, arms=arms, budget={"equal": "none"}
    )
    first, *_ = compare(design, accuracy, trials, protocol={}).findings
    assert first == UnequalBudgets(n_trials={"baseline": 4, "noisy": 9})


def courses(values: list[float], ratios: list[float | None]) -> list[EpochMean]:
    """Return the means of both arms by epoch: a constant baseline, and these of the other arm."""
    noisy = [
        EpochMean(arm="noisy", epoch=i + 1, n=4, value=value, noise_to_gradient=ratio)
        for i, (value, ratio) in enumerate(zip(values, ratios, strict=True))
    ]
    baseline = [
        EpochMean(arm="baseline", epoch=i + 1, n=4, value=0.5, noise_to_gradient=None)
        for i in range(len(values))
    ]
    return baseline + noisy


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ([0.001] * 10, ("noise_negligible", 0.01, 10)),
        ([0.02] * 4 + [0.009] * 6, ("noise_negligible", 0.01, 6)),
        ([50.0] * 6 + [1.0] * 4, ("noise_dominant", 10.0, 6)),
        ([0.02] * 5 + [0.009] * 5, None),
        ([1.0] * 10, None),
        ([0.0] * 10, None),
    ],
)
def test_negligible_or_dominant_noise_is_found(
    make_trials: Make,
    accuracy: Metric,
    ratios: list[float | None],
    expected: tuple[str, float, int] | None,
) -> None:
    design, trials = make_trials({"baseline": [0.1, 0.2, 0.1], "noisy": [0.3, 0.2, 0.4]})
    epochs = courses([0.5] * 10, ratios)
    comparison = compare(design, accuracy, trials, protocol={}, epochs=epochs)
    found = [finding for finding in comparison.findings if isinstance(finding, NoiseScale)]
    assert [(f.kind, f.limit, f.n) for f in found] == ([expected] if expected else [])
    assert {(f.arm, f.n_measured) for f in found} <= {("noisy", 10)}


def test_an_arm_that_is_still_learning_is_found(make_trials: Make, accuracy: Metric) -> None:
    design, trials = make_trials({"baseline": [0.1, 0.2, 0.1], "noisy": [0.3, 0.2, 0.4]})
    epochs = courses([0.01 * i for i in range(20)], [None] * 20)
    comparison = compare(design, accuracy, trials, protocol={}, epochs=epochs)
    (found,) = [f for f in comparison.findings if isinstance(f, StillLearning)]
    assert (found.arm, found.from_epoch, found.to_epoch) == ("noisy", 16, 20)
    assert found.gain == pytest.approx(0.04)


@pytest.mark.parametrize(("n_diverged", "is_found"), [(6, True), (2, False)])
def test_an_arm_that_diverges_significantly_more_often_is_found(
    make_trials: Make, accuracy: Metric, n_diverged: int, is_found: bool
) -> None:
    noisy = ["diverged"] * n_diverged + [0.2] * (8 - n_diverged)
    design, trials = make_trials({"baseline": [0.1] * 8, "noisy": noisy})
    comparison = compare(design, accuracy, trials, protocol={})
    found = [f for f in comparison.findings if isinstance(f, UnequalDivergence)]
    (divergence,) = comparison.diagnostics.divergences
    assert [f.divergence for f in found] == [divergence] * is_found
    assert (divergence.phase, divergence.n_diverged, divergence.n) == ("confirm", n_diverged, 8)


def test_device_time_that_came_out_unequal_is_found(make_trials: Make, accuracy: Metric) -> None:
    """4 baseline trials took 2 s each; costs of 1 and 2 allow the noisy arm 2 trials."""
    budget = {"equal": "device_seconds", "costs": {"baseline": 1, "noisy": 2}}
    for seconds, kinds in ((4.0, []), (5.0, ["unequal_device_time"])):
        design, trials = make_trials(
            {"baseline": [0.1] * 6, "noisy": [0.5] * 6},
            search={"n_trials": 4, "epochs": 3, "rerun": {"n_seeds": 0}},
            budget=budget,
        )
        ran = [
            replace(t, device_seconds=seconds if t.arm == "noisy" else 2.0)
            for t in trials
            if (t.phase, t.arm) != ("search", "noisy") or t.number < 2
        ]
        found = compare(design, accuracy, ran, protocol={}).findings
        assert [f.kind for f in found if f.kind.startswith("unequal")] == kinds


def test_code_that_changed_between_runs_is_the_first_finding(
    make_trials: Make, accuracy: Metric
) -> None:
    design, trials = make_trials({"baseline": [0.1, 0.2, 0.3], "noisy": [0.2, 0.3, 0.5]})
    marked = compare(design, accuracy, trials, protocol={"changed_code": ["workload mlp"]})
    assert marked.findings[0] == CodeChanged(parts=("workload mlp",))
    retries = [{"n_trials": 2, "verdict": "helps"}, {"n_trials": 1, "verdict": None}]
    retried = compare(design, accuracy, trials, protocol={"retries": retries})
    assert retried.findings[0] == Retried(n_trials=3, verdicts=("helps",))
