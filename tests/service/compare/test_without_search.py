"""A study without a search: every arm runs the same settings, and the verdict is over all pairs."""

import math
import statistics
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from gradnoise_service.compare.assembly import compare
from gradnoise_service.compare.facts.findings import (
    BestSetting,
    EveryRunFailed,
    NothingTuned,
    TooFewPairs,
    Waiting,
)
from gradnoise_service.compare.planning import planned
from gradnoise_service.compare.sign_flips import sign_flip_p
from gradnoise_service.compare.tables import seed_rows
from gradnoise_service.compare.verdict import judge
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.errors import InvalidSpecError
from gradnoise_service.domain.sequential import ALPHA
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Trial

Make = Callable[..., tuple[Design, list[Trial]]]
# two settings, seed by seed: the first learns little
BASE = [0.10, 0.50, 0.20, 0.55, 0.15, 0.60, 0.12, 0.58]
BETTER = [value + 0.2 + i / 100 for i, value in enumerate(BASE)]


def test_the_verdict_is_over_all_pairs_of_settings_and_seeds(
    make_grid: Make, accuracy: Metric
) -> None:
    design, trials = make_grid({"baseline": BASE, "noisy": BETTER})
    comparison = compare(design, accuracy, trials, protocol={})
    (difference,) = comparison.differences
    assert (comparison.verdict, comparison.is_final, difference.n, difference.n_declared) == (
        "helps",
        True,
        8,
        8,
    )
    assert difference.gain == pytest.approx(0.235)
    assert difference.n_better == 8
    assert difference.p_value == pytest.approx(stats.wilcoxon(BETTER, BASE).pvalue)
    assert [arm.chosen[0].setting for arm in comparison.arms] == [{}, {"eta": 0.3, "gamma": 0.55}]
    assert [
        (arm.confirm.n_declared, arm.search.n_declared, arm.chosen[0].number)
        for arm in comparison.arms
    ] == [(8, 0, None)] * 2


def test_each_setting_has_its_numbers(make_grid: Make, accuracy: Metric, loss: Metric) -> None:
    noisy = [*BETTER[:6], "diverged", "running"]
    design, trials = make_grid(
        {"baseline": BASE, "noisy": noisy}, confirm={"thresholds": [0.35, 0.57]}
    )
    low, high = compare(design, accuracy, trials, protocol={}).points
    assert (low.params, high.params) == (
        {"lr": 0.01, "momentum": 0.9},
        {"lr": 0.1, "momentum": 0.9},
    )
    runs = low.runs["baseline"]
    assert (runs.n, runs.n_lost, runs.best) == (4, 0, 0.20)
    assert (runs.mean, runs.spread) == (statistics.fmean(BASE[::2]), statistics.stdev(BASE[::2]))
    assert [(r.threshold, r.n_reached, r.n) for r in runs.reached] == [
        (0.35, 0, 4),
        (0.57, 0, 4),
    ]
    assert (low.runs["noisy"].n, low.runs["noisy"].n_lost) == (4, 1)  # the diverged run counts as 0
    assert low.runs["noisy"].mean == pytest.approx(sum(BETTER[0:6:2]) / 4)
    assert (high.runs["noisy"].n, high.runs["noisy"].best) == (3, BETTER[5])
    assert [r.n_reached for r in high.runs["baseline"].reached] == [4, 2]
    assert compare(design, loss, trials, protocol={}).points[0].runs["baseline"].best == 0.10


def test_rows_name_their_setting_and_pairs_share_their_seed(
    make_grid: Make, accuracy: Metric
) -> None:
    design, trials = make_grid({"baseline": BASE, "noisy": BETTER})
    rows = compare(design, accuracy, trials, protocol={}).seeds
    assert [(row.number, row.point) for row in rows] == [(i, i % 2) for i in range(8)]
    assert len({row.seed for row in rows}) == 8
    assert {(trial.number, trial.seed) for trial in trials} == {
        (row.number, row.seed) for row in rows
    }


def test_there_is_no_search_to_describe(make_grid: Make, accuracy: Metric) -> None:
    design, trials = make_grid({"baseline": BASE, "noisy": [*BETTER[:6], "running"]})
    running = compare(design, accuracy, trials, protocol={})
    assert running.differences[0].no_verdict == Waiting()
    assert sum(arm.confirm.n_ended for arm in running.arms) == 14
    done = compare(*_with(make_grid, accuracy), protocol={})
    assert (done.search, done.diagnostics.rates, done.diagnostics.importances) == ((), (), ())
    assert {finding.kind for finding in done.findings} == {"nothing_tuned"}


def test_each_arm_s_best_setting_is_found(make_grid: Make, accuracy: Metric, loss: Metric) -> None:
    """For a metric to be minimized, the best mean is the lowest."""
    design, trials = make_grid({"baseline": BASE, "noisy": [*BETTER[:6], "diverged", "running"]})

    def best(metric: Metric) -> list[tuple[str, float, object]]:
        finding = compare(design, metric, trials, protocol={}).findings[-1]
        assert isinstance(finding, NothingTuned)
        assert finding.n_settings == 2
        assert all(isinstance(found, BestSetting) for found in finding.best)
        return [(found.arm, round(found.mean, 3), found.params) for found in finding.best]

    assert best(accuracy) == [("baseline", 0.557, {"lr": 0.1}), ("noisy", 0.78, {"lr": 0.1})]
    assert best(loss) == [("baseline", 0.143, {"lr": 0.01}), ("noisy", 0.78, {"lr": 0.1})]
    single, trials = make_grid({"baseline": BASE[:4], "noisy": BETTER[:4]}, rates=[0.1])
    assert compare(single, accuracy, trials, protocol={}).findings == ()


def test_without_any_run_there_is_a_comparison_without_numbers(
    make_grid: Make, accuracy: Metric
) -> None:
    design, _ = make_grid({"baseline": BASE, "noisy": BETTER})
    comparison = compare(design, accuracy, [], protocol={})
    assert (comparison.verdict, comparison.is_final, comparison.differences[0].n) == (
        "undecided",
        False,
        0,
    )
    assert [
        (runs.n, runs.mean, runs.spread, runs.best)
        for point in comparison.points
        for runs in point.runs.values()
    ] == [(0, None, None, None)] * 4


def test_an_arm_that_always_fails_has_no_verdict(make_grid: Make, accuracy: Metric) -> None:
    design, trials = make_grid({"baseline": BASE, "noisy": ["failed"] * 8})
    comparison = compare(design, accuracy, trials, protocol={})
    assert comparison.differences[0].no_verdict == EveryRunFailed(arm="noisy")


def test_further_seeds_are_seeds_of_every_setting(make_grid: Make, accuracy: Metric) -> None:
    design, trials = make_grid({"baseline": BASE[:4], "noisy": BETTER[:4]})
    difference = compare(design, accuracy, trials, protocol={}).differences[0]
    # 4 of at least 6 pairs exist, and a seed gives 2
    assert (difference.no_verdict, difference.further_seeds) == (TooFewPairs(n_needed=6), 1)
    mixed = [value + (0.3 if i % 4 < 2 else -0.2) for i, value in enumerate(BASE)]
    undecided = compare(*_with(make_grid, accuracy, mixed), protocol={}).differences[0]
    assert (undecided.verdict, undecided.no_verdict) == ("undecided", None)
    assert undecided.further_seeds is not None


def test_a_look_counts_a_pair_for_each_setting_and_seed(make_grid: Make, accuracy: Metric) -> None:
    confirm = {"n_seeds": 8, "looks": [4], "boundary": "pocock"}
    design, trials = make_grid({"baseline": BASE, "noisy": BETTER}, confirm=confirm)
    assert planned(design.spec) == design.spec
    comparison = compare(design, accuracy, trials, protocol={})
    assert (comparison.is_final, len(comparison.seeds), comparison.verdict) == (True, 8, "helps")
    assert comparison.plan is not None
    assert (comparison.plan.looks, comparison.plan.n_seeds) == ((4, 8), 4)
    early, _ = make_grid({"baseline": BASE, "noisy": BETTER}, confirm=confirm | {"looks": [3]})
    with pytest.raises(InvalidSpecError) as rejected:
        planned(early.spec)
    assert rejected.value.errors[0].legal == "at least 4 seeds at this look"


def test_the_seeds_of_a_power_are_its_pairs_over_the_settings(make_grid: Make) -> None:
    """12 pairs at a standard deviation that is the smallest difference."""
    design, _ = make_grid({"baseline": BASE, "noisy": BETTER}, smallest_difference=0.05)
    values = design.spec.model_dump(mode="json") | {
        "confirm": {"power": {"power": 0.8, "sd": 0.05}, "epochs": 3}
    }
    assert planned(StudySpec.model_validate(values)).confirm.n_seeds == 6


def _with(
    make_grid: Make, metric: Metric, noisy: list[float] | None = None
) -> tuple[Design, Metric, list[Trial]]:
    design, trials = make_grid({"baseline": BASE, "noisy": noisy or BETTER})
    return design, metric, trials


@pytest.mark.parametrize("n_studies", [400, pytest.param(4_000, marks=pytest.mark.slow)])
def test_arms_that_are_equal_at_every_setting_are_called_different_in_at_most_5_percent(
    make_grid: Make, accuracy: Metric, n_studies: int
) -> None:
    """Means and spreads differ between the 4 settings, each on 3 seeds.

    Bound: three standard errors of the simulation.
    """
    rng = np.random.default_rng(11)
    means, spreads = np.tile([0.1, 0.9, 0.5, 0.5], 3), np.tile([0.001, 0.01, 0.1, 0.3], 3)
    wrong = 0
    for _ in range(n_studies):
        baseline, noisy = (means + spreads * rng.normal(size=12) for _ in range(2))
        p = sign_flip_p((noisy - baseline).tolist())
        if p <= ALPHA:  # else the verdict is neither
            values = {"baseline": baseline.tolist(), "noisy": noisy.tolist()}
            design, trials = make_grid(
                values, rates=(0.01, 0.03, 0.1, 0.3), smallest_difference=1e-9
            )
            rows = seed_rows(design, accuracy, trials)
            verdict = judge(design, accuracy, rows, "noisy", p=p).verdict
            wrong += verdict in ("helps", "hurts")
    assert wrong / n_studies <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / n_studies)
