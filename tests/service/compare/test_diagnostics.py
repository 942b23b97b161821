"""What describes a study is computed as said, and said where it should make a reader pause."""

import dataclasses
from collections.abc import Callable

import pytest
from scipy.stats import fisher_exact, linregress  # type: ignore[import-untyped]

from chosen_outcomes import points
from gradnoise_service.compare import compare
from gradnoise_service.compare.comparison import Comparison, Course
from gradnoise_service.compare.diagnostics import course, fisher_p, noise_cells, rate_range
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import EpochMean, Metric, Trial

Make = Callable[..., tuple[StudySpec, list[Trial]]]


def means(
    arm: str, values: list[float | None], ratios: list[float] | None = None
) -> list[EpochMean]:
    return [
        EpochMean(
            arm=arm, epoch=i + 1, n=4, value=value, noise_to_gradient=ratios[i] if ratios else None
        )
        for i, value in enumerate(values)
    ]


@pytest.fixture
def spec(make_trials: Make) -> StudySpec:
    return make_trials({"baseline": [0.1], "noisy": [0.2]})[0]  # smallest difference 0.02


def test_a_curve_that_gains_what_matters_in_its_last_fifth_is_climbing(
    spec: StudySpec, accuracy: Metric
) -> None:
    steep = course(spec, accuracy, "noisy", means("noisy", [0.006 * i for i in range(20)]))
    assert (steep.late_from, steep.is_climbing) == (16, True)
    assert steep.late_gain == pytest.approx(0.024)
    gentle = course(spec, accuracy, "noisy", means("noisy", [0.0048 * i for i in range(20)]))
    assert gentle.late_gain == pytest.approx(0.0192)
    assert not gentle.is_climbing
    assert not course(
        spec, accuracy, "noisy", means("noisy", [-0.006 * i for i in range(20)])
    ).is_climbing


def test_where_smaller_is_better_a_falling_curve_climbs(spec: StudySpec, loss: Metric) -> None:
    assert course(spec, loss, "noisy", means("noisy", [-0.006 * i for i in range(20)])).is_climbing


def test_a_gain_within_twice_its_standard_error_is_not_called_climbing(
    spec: StudySpec, accuracy: Metric
) -> None:
    values: list[float | None] = [0.5] * 16 + [0.4, 0.6, 0.4, 0.65]
    found = course(spec, accuracy, "noisy", means("noisy", values))
    line = linregress(range(16, 21), [0.5, 0.4, 0.6, 0.4, 0.65])
    assert found.late_gain == pytest.approx(4 * line.slope)
    assert spec.smallest_difference < 4 * line.slope < 2 * 4 * line.stderr
    assert not found.is_climbing


@pytest.mark.parametrize(
    "values", [[], [None] * 9, [0.1, 0.2, 0.3, 0.9], [None, 0.1, 0.5, None, 0.9]]
)
def test_of_few_epochs_nothing_is_said(
    spec: StudySpec, accuracy: Metric, values: list[float | None]
) -> None:
    found = course(spec, accuracy, "noisy", means("noisy", values))
    assert (found.late_gain, found.is_climbing) == (None, False)


@pytest.mark.parametrize(
    "counts",
    [
        (8, 10, 1, 6),
        (0, 5, 0, 5),
        (5, 5, 0, 5),
        (3, 40, 12, 44),
        (1, 2, 1, 30),
        (700, 5000, 610, 5000),
    ],
)
def test_the_exact_test_is_fisher_s(counts: tuple[int, int, int, int]) -> None:
    a, n, b, m = counts
    assert fisher_p(*counts) == pytest.approx(
        fisher_exact([[a, n - a], [b, m - b]]).pvalue, rel=1e-6
    )


def test_the_range_of_rates_is_that_of_the_trials_near_the_best(
    spec: StudySpec, accuracy: Metric
) -> None:
    tried = points(
        [0.5, 0.9, 0.7, 0.89, "diverged", "pruned", 0.881],
        lr=[0.001, 0.01, 0.02, 0.1, 0.05, 0.03, 1.0],
    )
    found = rate_range(spec, accuracy, tried)
    assert found is not None
    assert (found.best, found.low, found.high, found.n_within, found.n_between) == (
        0.9,
        0.01,
        1.0,
        3,
        5,
    )
    assert found.factor == pytest.approx(100)
    assert rate_range(spec, accuracy, points(["failed", "diverged"], lr=[0.1, 0.2])) is None
    assert rate_range(spec, accuracy, points([0.5, 0.6], lr=[0.1, 0.1])) is None
    assert rate_range(spec, accuracy, []) is None


def test_every_cell_of_the_map_says_how_many_trials_it_rests_on() -> None:
    tried = points(
        [0.1, 0.3, "diverged", 0.7, "open"],
        eta=[0.01, 0.01, 0.01, 1.0, 1.0],
        gamma=[0.5, 0.5, 0.5, 0.5, 0.5],
    )
    cells = list(noise_cells(tried))
    assert [(c.eta, c.gamma, c.n, c.n_lost, c.mean) for c in cells] == [
        ((0.01, 0.01), (0.5, 0.5), 3, 1, pytest.approx(0.2)),
        ((1.0, 1.0), (0.5, 0.5), 1, 0, 0.7),
    ]
    assert cells[0].spread == pytest.approx(0.02**0.5)
    assert cells[1].spread is None
    assert list(noise_cells(points([0.1], lr=[0.1]))) == []


def _compared(make_trials: Make, metric: Metric, epochs: list[EpochMean]) -> Comparison:
    spec, trials = make_trials({"baseline": [0.1, 0.2, 0.1], "noisy": [0.3, 0.2, 0.4]})
    return compare(spec, metric, trials, protocol={}, epochs=epochs)


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        (
            [0.001] * 10,
            "noisy's noise, as a multiple of the gradient's norm, was below 0.01: the noise was "
            "too small to do much (in all",
        ),
        ([0.02] * 4 + [0.009] * 6, "too small to do much (in 6 of 10 of the measured epochs)"),
        ([50.0] * 6 + [1.0] * 4, "was above 10: the noise drowned the gradient (in 6 of 10"),
        ([0.02] * 5 + [0.009] * 5, None),
        ([1.0] * 10, None),
        ([0.0] * 10, None),
    ],
)
def test_noise_that_is_drowned_or_drowns_is_warned_of(
    make_trials: Make, accuracy: Metric, ratios: list[float], expected: str | None
) -> None:
    epochs = means("baseline", [0.5] * 10) + means("noisy", [0.5] * 10, ratios)
    warnings = [
        warning
        for warning in _compared(make_trials, accuracy, epochs).warnings
        if "gradient" in warning
    ]
    assert len(warnings) == (expected is not None)
    assert expected is None or expected in warnings[0]


def test_a_climbing_curve_is_warned_of_with_its_numbers(
    make_trials: Make, accuracy: Metric
) -> None:
    epochs = means("baseline", [0.5] * 20) + means("noisy", [0.01 * i for i in range(20)])
    comparison = _compared(make_trials, accuracy, epochs)
    (warning,) = [warning for warning in comparison.warnings if "learning" in warning]
    assert (
        "noisy had not finished learning: from epoch 16 to 20 its mean validation accuracy still "
        "improved by 0.04" in warning
    )
    assert Comparison.model_validate_json(comparison.model_dump_json()) == comparison
    assert all(isinstance(one, Course) for one in comparison.diagnostics.courses)


def test_an_arm_that_diverges_more_is_warned_of_and_one_that_may_by_chance_is_not(
    make_trials: Make, make_trial: Callable[..., Trial], accuracy: Metric
) -> None:
    spec, trials = make_trials({"baseline": [0.1] * 8, "noisy": ["diverged"] * 6 + [0.2, 0.3]})
    comparison = compare(spec, accuracy, trials, protocol={})
    (found,) = comparison.diagnostics.divergences
    assert found.p_value == pytest.approx(fisher_exact([[6, 2], [0, 8]]).pvalue)
    told = (
        "noisy diverged more often than baseline in the confirm phase: 6 of 8 against 0 of 8 "
        "trials (Fisher's exact test, p = 0.007)."
    )
    assert told in comparison.warnings
    spec, trials = make_trials({"baseline": [0.1] * 8, "noisy": ["diverged"] * 2 + [0.2] * 6})
    assert not any(
        "more often" in warning for warning in compare(spec, accuracy, trials, protocol={}).warnings
    )


def test_the_remarks_hold_the_ranges_of_both_arms_against_each_other(
    make_trials: Make, accuracy: Metric
) -> None:
    spec, trials = make_trials(
        {"baseline": [0.1, 0.2], "noisy": [0.3, 0.2]}, smallest_difference=0.35
    )
    trials = [
        dataclasses.replace(t, value=0.0)
        if (t.phase, t.arm, t.number) == ("search", "baseline", 0)
        else t
        for t in trials
    ]
    remarks = {
        fact.name: fact.value
        for fact in compare(spec, accuracy, trials, protocol={}).diagnostics.remarks
    }
    assert remarks["Usable learning rates of noisy"] == (
        "0.01 to 0.04, a factor of 4; wider than baseline's factor of 2: "
        "within 0.35 of its best value (0.4) in 4 of the 4 trials between them"
    )
    spec = make_trials({"baseline": [0.1], "noisy": [0.3]}, smallest_difference=0.05)[0]
    remarks = {
        fact.name: fact.value
        for fact in compare(spec, accuracy, trials, protocol={}).diagnostics.remarks
    }
    assert (
        remarks["Usable learning rates of noisy"]
        == "0.04 alone: no other trial came within 0.05 of its best value (0.4)"
    )
    spec = make_trials({"baseline": [0.1], "noisy": [0.3]}, smallest_difference=0.15)[0]
    remarks = {
        fact.name: fact.value
        for fact in compare(spec, accuracy, trials, protocol={}).diagnostics.remarks
    }
    assert (
        "; too few trials came so near to be held against baseline's: within 0.15"
        in remarks["Usable learning rates of noisy"]
    )


@pytest.mark.parametrize("value", [1e308, float("inf"), float("nan")])
def test_a_mean_that_cannot_be_reckoned_with_leaves_a_gap_in_the_course(
    make_spec: Callable[..., StudySpec], loss: Metric, value: float
) -> None:
    """One run's loss before it came down can be as large as numbers go."""
    means = [
        EpochMean(
            arm="noisy",
            epoch=k,
            n=3,
            value=value if k < 3 else 1.0,
            noise_to_gradient=value if k < 3 else 0.5,
        )
        for k in range(1, 9)
    ]
    found = course(make_spec(), loss, "noisy", means)
    assert found.values == (None, None, *[1.0] * 6)
    assert found.noise_to_gradient == (None, None, *[0.5] * 6)
