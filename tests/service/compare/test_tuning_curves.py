"""Tuning curves have their closed forms, and their bands hold for all numbers of trials."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from chosen_outcomes import Result
from gradnoise_service.compare.assembly import compare
from gradnoise_service.compare.facts.diagnostics import BudgetComparison, Lead, Tuning
from gradnoise_service.compare.order_statistics import quantile_bounds
from gradnoise_service.compare.tuning_curves import MOST_TRIALS, band, budgets
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import Metric, Trial

Make = Callable[..., tuple[Design, list[Trial]]]
RISING = [i / 40 for i in range(1, 41)]


@pytest.fixture
def tuned(make_trials: Make, make_trial: Callable[..., Trial]) -> Callable[..., Tuning]:
    """A function that returns the tuning curves of arms with the given search results."""

    def curves(metric: Metric, *arms: Sequence[Result], **search: object) -> Tuning:
        names = ["baseline", "noisy", "other"][: len(arms)]
        fields = {"n_trials": len(arms[0]), "epochs": 3, "sampler": "random"} | search
        design, _ = make_trials({name: [] for name in names}, n_search=0, search=fields)
        trials = [
            make_trial(design, "search", name, i, result)
            for name, results in zip(names, arms, strict=True)
            for i, result in enumerate(results)
        ]
        found = compare(design, metric, trials, protocol={}).diagnostics.tuning
        assert found is not None
        return found

    return curves


@pytest.mark.parametrize("n", [7, 24, 100])
def test_the_curve_of_a_uniform_value_is_the_root_of_a_half(n: int) -> None:
    """Of i / n, i = 1 ... n, the median of the best of k is 0.5^(1/k), rounded up to a value."""
    found = band([i / n for i in range(1, n + 1)], 0.95)
    rounded_up = found.median - 0.5 ** (1 / np.arange(1, n + 1))
    assert (rounded_up >= 0).all()
    assert (rounded_up < 1 / n).all()
    assert found.median[-1] == 1


def test_curve_and_band_are_opda_s() -> None:
    """opda 0.8.0: `quantile_tuning_curve` of `confidence_bands(..., method="ld_equal_tailed")`."""
    values = [0.05 * i for i in range(1, 20)] + [0.5001]
    found = band(np.random.default_rng(1).permutation(values).tolist(), 0.95)
    at = np.array([2, 3, 5, 10, 20]) - 1
    assert found.median[at] == pytest.approx([0.7, 0.75, 0.85, 0.9, 0.95])
    assert found.low[[0, *at]] == pytest.approx([0.2, 0.4, 0.5, 0.6, 0.7, 0.75])
    assert found.high[[0, *at]] == pytest.approx([0.8, 0.95, *[math.inf] * 4])
    smaller = band([-value for value in values], 0.95)
    assert -smaller.median[at] == pytest.approx([0.3, 0.25, 0.15, 0.1, 0.05])
    assert -smaller.low[[0, *at]] == pytest.approx([0.8, 0.6, 0.5001, 0.4, 0.3, 0.25])
    assert -smaller.high[[0, *at]] == pytest.approx([0.2, 0.05, *[-math.inf] * 4])


@pytest.mark.parametrize("step", [1e-9, 0.05, 0.4], ids=["continuous", "ties", "many ties"])
def test_the_band_contains_the_whole_curve_as_often_as_declared(step: float) -> None:
    """Values are uniform, rounded up to a multiple of `step`; the curve then is, likewise."""
    n, n_samples, level = 24, 2_000, 0.95
    curve = np.ceil(0.5 ** (1 / np.arange(1, n + 1)) / step) * step
    generator = np.random.default_rng(3)
    held = 0
    for _ in range(n_samples):
        found = band((np.ceil(generator.random(n) / step) * step).tolist(), level)
        held += bool(((found.low <= curve) & (curve <= found.high)).all())
    assert held / n_samples >= level - 5 * math.sqrt(level * (1 - level) / n_samples)


def test_the_bands_of_equal_arms_are_apart_in_at_most_5_percent() -> None:
    n_studies, generator = 2_000, np.random.default_rng(5)
    apart = 0
    for _ in range(n_studies):
        one, other = (band(generator.random(24).tolist(), 1 - 0.05 / 2) for _ in range(2))
        apart += bool(((one.low > other.high) | (other.low > one.high)).any())
    assert apart / n_studies <= 0.05 + 5 * math.sqrt(0.05 * 0.95 / n_studies)


def test_bands_are_apart_up_to_their_reach_at_most(
    tuned: Callable[..., Tuning], accuracy: Metric
) -> None:
    """40 trials bound the median from above up to k = 3: 0.5^(1/3) = 0.794 is below 0.826."""
    found = tuned(accuracy, RISING, [value + 2 for value in RISING])
    assert found.comparisons == (
        BudgetComparison(
            arm="noisy",
            baseline="baseline",
            n=40,
            reach=3,
            leads=(Lead(arm="noisy", first=1, last=40),),
            better=(1, 3),
            worse=None,
        ),
    )
    assert [curve.reach for curve in found.curves] == [3, 3]
    swapped = tuned(accuracy, [value + 2 for value in RISING], RISING).comparisons[0]
    assert (swapped.better, swapped.worse) == (None, (1, 3))
    assert swapped.leads == (Lead(arm="baseline", first=1, last=40),)


def test_the_first_number_of_trials_at_which_bands_are_apart_is_found(
    tuned: Callable[..., Tuning], accuracy: Metric
) -> None:
    """One trial in three of the arm learns, every trial of the baseline reaches about 0.5."""
    n = 120
    baseline = [0.5 + i / 10_000 for i in range(n)]
    noisy = [0.9 + i / 10_000 if i % 3 == 0 else 0.1 for i in range(n)]
    found = tuned(accuracy, baseline, noisy).comparisons[0]
    # the best of 1 learns with probability 1/3, that of 2 with 0.56
    assert found.leads == (
        Lead(arm="baseline", first=1, last=1),
        Lead(arm="noisy", first=2, last=n),
    )
    assert found.worse == (1, 1)
    # at most this share of trials does not learn; of k trials none does with probability share^k
    share = quantile_bounds(n, 1 - 0.05 / 2)[1][80]
    assert found.better == (1 + math.floor(math.log(0.5, share)), found.reach)


def test_smaller_values_are_better_where_the_metric_says_so(
    tuned: Callable[..., Tuning], accuracy: Metric, loss: Metric
) -> None:
    falling = [[5 - value for value in RISING], [3 - value for value in RISING]]
    smaller = tuned(loss, *falling)
    larger = tuned(accuracy, RISING, [value + 2 for value in RISING])
    assert smaller.comparisons == larger.comparisons
    for mirrored, curve in zip(smaller.curves, larger.curves, strict=True):
        for point, other in zip(mirrored.points, curve.points, strict=True):
            assert point.median == pytest.approx(5 - other.median)
            assert (point.better is None) == (other.better is None)
            assert point.worse == pytest.approx(5 - (other.worse or math.nan))


def test_lost_trials_count_as_the_worst_of_all(tuned: Callable[..., Tuning], loss: Metric) -> None:
    """A loss of 5,000 is worse than the metric's worst value, 100, so lost trials rank below it."""
    half_lost: list[Result] = [0.1, "diverged", 0.2, "failed", "diverged", "diverged"]
    baseline, noisy = tuned(loss, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], half_lost).curves
    assert (baseline.n_lost, noisy.n_lost) == (0, 4)
    assert [point.median for point in noisy.points] == [100, 0.2, 0.2, 0.1, 0.1, 0.1]
    _, noisy = tuned(loss, [1.0, 2.0, 3.0, 4.0, 5.0, 5_000.0], half_lost).curves
    assert noisy.points[0].median == pytest.approx(5_000.02)


def test_equal_values_have_no_leader(tuned: Callable[..., Tuning], accuracy: Metric) -> None:
    found = tuned(accuracy, [0.5] * 30, [0.5] * 30).comparisons[0]
    assert (found.leads, found.better, found.worse) == ((), None, None)


def test_a_lead_continues_over_ties(tuned: Callable[..., Tuning], accuracy: Metric) -> None:
    """The arm's values exceed the baseline's in every quarter except the third."""
    baseline = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    noisy = [*baseline[:4], 0.5, 0.65, 0.7, 0.85]
    found = tuned(accuracy, baseline, noisy).comparisons[0]
    assert found.leads == (Lead(arm="noisy", first=2, last=8),)


def test_each_of_several_arms_has_its_share_of_the_5_percent(
    tuned: Callable[..., Tuning], accuracy: Metric
) -> None:
    found = tuned(accuracy, RISING, RISING, RISING)
    assert found.confidence == 0.95
    assert [curve.level for curve in found.curves] == pytest.approx([1 - 0.05 / 3] * 3)
    assert [c.arm for c in found.comparisons] == ["noisy", "other"]


@pytest.mark.parametrize(
    ("search", "results", "absent"),
    [
        ({"sampler": "tpe"}, RISING, "sampler"),
        ({"sampler": "qmc"}, RISING, "sampler"),
        ({"pruner": "asha"}, RISING, "pruner"),
        ({}, [*RISING[:-1], "cancelled"], "open"),
        ({}, [*RISING[:-1], "running"], "open"),
        ({}, [], "open"),
        ({"n_trials": 41}, RISING, "open"),
    ],
)
def test_without_complete_independent_trials_there_is_no_curve(
    tuned: Callable[..., Tuning],
    accuracy: Metric,
    search: dict[str, object],
    results: list[Result],
    absent: str,
) -> None:
    assert tuned(accuracy, RISING, results, **search) == Tuning(absent=absent)  # type: ignore[arg-type]


def test_a_study_without_a_search_has_no_tuning(make_grid: Make, accuracy: Metric) -> None:
    design, trials = make_grid({"baseline": [0.1] * 4, "noisy": [0.2] * 4})
    assert compare(design, accuracy, trials, protocol={}).diagnostics.tuning is None


def test_of_many_trials_the_first_are_used_with_at_most_100_points(
    tuned: Callable[..., Tuning], accuracy: Metric
) -> None:
    values = np.random.default_rng(2).random(MOST_TRIALS + 100).tolist()
    found = tuned(accuracy, values, values)
    first = tuned(accuracy, values[:MOST_TRIALS], values[:MOST_TRIALS])
    assert found == first
    assert found.curves[0].n == MOST_TRIALS
    assert budgets(MOST_TRIALS) == [point.n_trials for point in found.curves[0].points]
    assert budgets(MOST_TRIALS) == sorted({*budgets(MOST_TRIALS), 1, MOST_TRIALS})
    assert len(budgets(MOST_TRIALS)) <= 100


def test_the_order_of_the_trials_has_no_effect(make_trials: Make, accuracy: Metric) -> None:
    design, trials = make_trials({"baseline": [0.1], "noisy": [0.2]})
    shuffled = [dataclasses.replace(trial) for trial in reversed(trials)]
    assert (
        compare(design, accuracy, shuffled, protocol={}).diagnostics.tuning
        == compare(design, accuracy, trials, protocol={}).diagnostics.tuning
    )
