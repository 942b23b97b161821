"""Diagnostics follow their formulas."""

import dataclasses
from collections.abc import Callable

import pytest
from scipy.stats import fisher_exact, hypergeom, linregress  # type: ignore[import-untyped]

from chosen_outcomes import points
from gradnoise_service.compare.assembly import compare
from gradnoise_service.compare.diagnostics import course, fisher_p, noise_cells, rate_range
from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import EpochMean, Metric, Trial

Make = Callable[..., tuple[Design, list[Trial]]]
DELTA = 0.02


def means(
    arm: str, values: list[float | None], ratios: list[float] | None = None
) -> list[EpochMean]:
    return [
        EpochMean(
            arm=arm, epoch=i + 1, n=4, value=value, noise_to_gradient=ratios[i] if ratios else None
        )
        for i, value in enumerate(values)
    ]


def test_a_curve_with_a_relevant_gain_in_its_last_fifth_is_climbing(accuracy: Metric) -> None:
    steep = course(DELTA, accuracy, "noisy", means("noisy", [0.006 * i for i in range(20)]))
    assert (steep.late_from, steep.is_climbing) == (16, True)
    assert steep.late_gain == pytest.approx(0.024)
    gentle = course(DELTA, accuracy, "noisy", means("noisy", [0.0048 * i for i in range(20)]))
    assert gentle.late_gain == pytest.approx(0.0192)
    assert not gentle.is_climbing
    assert not course(
        DELTA, accuracy, "noisy", means("noisy", [-0.006 * i for i in range(20)])
    ).is_climbing


def test_a_falling_curve_climbs_if_smaller_is_better(loss: Metric) -> None:
    assert course(DELTA, loss, "noisy", means("noisy", [-0.006 * i for i in range(20)])).is_climbing


def test_a_gain_within_twice_its_standard_error_is_not_climbing(accuracy: Metric) -> None:
    values: list[float | None] = [0.5] * 16 + [0.4, 0.6, 0.4, 0.65]
    found = course(DELTA, accuracy, "noisy", means("noisy", values))
    line = linregress(range(16, 21), [0.5, 0.4, 0.6, 0.4, 0.65])
    assert found.late_gain == pytest.approx(4 * line.slope)
    assert DELTA < 4 * line.slope < 2 * 4 * line.stderr
    assert not found.is_climbing


@pytest.mark.parametrize(
    "values", [[], [None] * 9, [0.1, 0.2, 0.3, 0.9], [None, 0.1, 0.5, None, 0.9]]
)
def test_few_epochs_have_no_gain(accuracy: Metric, values: list[float | None]) -> None:
    found = course(DELTA, accuracy, "noisy", means("noisy", values))
    assert (found.late_gain, found.is_climbing) == (None, False)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((8, 10, 1, 6), 0.034965035),
        ((0, 5, 0, 5), 1.0),
        ((5, 5, 0, 5), 2 / 252),
        ((3, 40, 12, 44), 0.0229654136),
        ((1, 2, 1, 30), 0.122983871),
        ((700, 5000, 610, 5000), 0.00832553885),
    ],
)
def test_fisher_s_test_has_its_reference_values(
    counts: tuple[int, int, int, int], expected: float
) -> None:
    """The sum of the hypergeometric probabilities that are at most that of the observed count."""
    a, n, b, m = counts
    probabilities = hypergeom.pmf(range(a + b + 1), n + m, a + b, n)
    by_sum = probabilities[probabilities <= probabilities[a] * (1 + 1e-7)].sum()
    assert fisher_p(*counts) == pytest.approx(by_sum, rel=1e-6)
    assert fisher_p(*counts) == pytest.approx(expected, rel=1e-6)


def test_the_range_of_rates_is_that_of_the_trials_close_to_the_best(accuracy: Metric) -> None:
    tried = points(
        [0.5, 0.9, 0.7, 0.89, "diverged", "pruned", 0.881],
        lr=[0.001, 0.01, 0.02, 0.1, 0.05, 0.03, 1.0],
    )
    found = rate_range(DELTA, accuracy, tried)
    assert found is not None
    assert (found.best, found.low, found.high, found.n_within, found.n_between) == (
        0.9,
        0.01,
        1.0,
        3,
        5,
    )
    assert found.factor == pytest.approx(100)
    assert rate_range(DELTA, accuracy, points(["failed", "diverged"], lr=[0.1, 0.2])) is None
    assert rate_range(DELTA, accuracy, points([0.5, 0.6], lr=[0.1, 0.1])) is None
    assert rate_range(DELTA, accuracy, []) is None


def test_every_cell_of_the_map_counts_its_trials() -> None:
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


def test_diagnostics_pass_through_json(make_trials: Make, accuracy: Metric) -> None:
    design, trials = make_trials({"baseline": [0.1, 0.2, 0.1], "noisy": [0.3, 0.2, 0.4]})
    epochs = means("baseline", [0.5] * 20) + means("noisy", [0.01 * i for i in range(20)])
    comparison = compare(design, accuracy, trials, protocol={}, epochs=epochs)
    assert Comparison.model_validate_json(comparison.model_dump_json()) == comparison
    assert [found.arm for found in comparison.diagnostics.courses] == ["baseline", "noisy"]


def test_divergences_have_fisher_s_p_value(make_trials: Make, accuracy: Metric) -> None:
    design, trials = make_trials({"baseline": [0.1] * 8, "noisy": ["diverged"] * 6 + [0.2, 0.3]})
    (found,) = compare(design, accuracy, trials, protocol={}).diagnostics.divergences
    assert found.p_value == pytest.approx(fisher_exact([[6, 2], [0, 8]]).pvalue)


@pytest.mark.parametrize(
    ("delta", "low", "n_within", "width"),
    [
        (0.35, 0.01, 4, "wider"),
        (0.05, 0.04, 1, "too_few_trials"),
        (0.15, 0.03, 2, "too_few_trials"),
    ],
)
def test_the_range_of_rates_is_compared_with_the_baseline_s(
    make_trials: Make, accuracy: Metric, delta: float, low: float, n_within: int, width: str
) -> None:
    """The first baseline trial is at 0, so that its range is 0.02 to 0.04 at most."""
    design, trials = make_trials(
        {"baseline": [0.1, 0.2], "noisy": [0.3, 0.2]}, smallest_difference=delta
    )
    first = next(t for t in trials if (t.phase, t.arm, t.number) == ("search", "baseline", 0))
    trials[trials.index(first)] = dataclasses.replace(first, value=0.0)
    baseline, noisy = compare(design, accuracy, trials, protocol={}).diagnostics.rates
    assert (noisy.low, noisy.high, noisy.best) == (low, 0.04, 0.4)
    assert (noisy.n_within, noisy.n_between, noisy.width) == (n_within, n_within, width)
    assert baseline.width is None
    assert width != "wider" or baseline.factor == pytest.approx(2)


def test_ranges_of_rates_from_different_spaces_are_not_compared(
    make_trials: Make, accuracy: Metric
) -> None:
    arms = [
        {"name": name, "technique": "none", "space": {"lr": {"low": low, "high": 0.3}}}
        for name, low in (("baseline", 0.01), ("same", 0.01), ("other", 0.001))
    ]
    values = {name: [0.1, 0.2] for name in ("baseline", "same", "other")}
    design, trials = make_trials(values, arms=arms, space={}, smallest_difference=0.35)
    rates = compare(design, accuracy, trials, protocol={}).diagnostics.rates
    assert [(rate.arm, rate.width) for rate in rates] == [
        ("baseline", None),
        ("same", "equal"),
        ("other", None),
    ]


@pytest.mark.parametrize("value", [1e308, float("inf"), float("nan")])
def test_a_mean_that_is_not_finite_or_too_large_leaves_a_gap_in_the_course(
    loss: Metric, value: float
) -> None:
    """The loss of a run can be as large as floats allow before it decreases."""
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
    found = course(DELTA, loss, "noisy", means)
    assert found.values == (None, None, *[1.0] * 6)
    assert found.noise_to_gradient == (None, None, *[0.5] * 6)
