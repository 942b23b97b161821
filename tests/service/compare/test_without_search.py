"""A study without a search: every arm runs the same settings, the verdict is over all pairs, and
nothing is said of a tuning.
"""

import math
import statistics
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from gradnoise_service.compare import compare
from gradnoise_service.compare.design import planned
from gradnoise_service.compare.intervals import signed_rank_p
from gradnoise_service.compare.tables import seed_rows
from gradnoise_service.compare.verdict import ALPHA, judge
from gradnoise_service.domain.errors import InvalidSpecError
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Trial

Make = Callable[..., tuple[StudySpec, list[Trial]]]
# two settings, seed by seed: the first learns little
BASE = [0.10, 0.50, 0.20, 0.55, 0.15, 0.60, 0.12, 0.58]
BETTER = [value + 0.2 + i / 100 for i, value in enumerate(BASE)]


def test_the_verdict_is_over_all_pairs_of_settings_and_seeds(
    make_grid: Make, accuracy: Metric
) -> None:
    spec, trials = make_grid({"baseline": BASE, "noisy": BETTER})
    comparison = compare(spec, accuracy, trials, protocol={})
    (difference,) = comparison.differences
    assert (comparison.verdict, comparison.is_final, difference.n, difference.n_declared) == (
        "helps",
        True,
        8,
        8,
    )
    assert difference.gain == pytest.approx(0.235)
    assert "over 8 pairs of runs (2 settings, 4 seeds), better in 8" in comparison.sentence
    assert difference.p_value == pytest.approx(stats.wilcoxon(BETTER, BASE).pvalue)
    assert [arm.setting for arm in comparison.arms] == [{}, {"eta": 0.3, "gamma": 0.55}]
    assert [
        (arm.confirm.n_declared, arm.search.n_declared, arm.chosen_number)
        for arm in comparison.arms
    ] == [(8, 0, None)] * 2


def test_each_setting_has_its_numbers(make_grid: Make, accuracy: Metric, loss: Metric) -> None:
    noisy = [*BETTER[:6], "diverged", "running"]
    spec, trials = make_grid(
        {"baseline": BASE, "noisy": noisy}, confirm={"thresholds": [0.35, 0.57]}
    )
    low, high = compare(spec, accuracy, trials, protocol={}).points
    assert (low.params, high.params) == (
        {"lr": 0.01, "momentum": 0.9},
        {"lr": 0.1, "momentum": 0.9},
    )
    runs = low.runs["baseline"]
    assert (runs.n, runs.n_lost, runs.best) == (4, 0, 0.20)
    assert (runs.mean, runs.spread) == (statistics.fmean(BASE[::2]), statistics.stdev(BASE[::2]))
    assert [(one.threshold, one.n_reached, one.n) for one in runs.reached] == [
        (0.35, 0, 4),
        (0.57, 0, 4),
    ]
    assert (low.runs["noisy"].n, low.runs["noisy"].n_lost) == (4, 1)  # the diverged run counts as 0
    assert low.runs["noisy"].mean == pytest.approx(sum(BETTER[0:6:2]) / 4)
    assert (high.runs["noisy"].n, high.runs["noisy"].best) == (3, BETTER[5])
    assert [one.n_reached for one in high.runs["baseline"].reached] == [4, 2]
    assert compare(spec, loss, trials, protocol={}).points[0].runs["baseline"].best == 0.10


def test_rows_name_their_setting_and_pairs_share_their_seed(
    make_grid: Make, accuracy: Metric
) -> None:
    spec, trials = make_grid({"baseline": BASE, "noisy": BETTER})
    rows = compare(spec, accuracy, trials, protocol={}).seeds
    assert [(row.number, row.point) for row in rows] == [(i, i % 2) for i in range(8)]
    assert len({row.seed for row in rows}) == 8
    assert {(trial.number, trial.seed) for trial in trials} == {
        (row.number, row.seed) for row in rows
    }


def test_nothing_is_said_of_a_search(make_grid: Make, accuracy: Metric) -> None:
    """Not in what was held equal, not in the warnings, whose winner's curse and edges there is none
    of, not while it runs.
    """
    spec, trials = make_grid({"baseline": BASE, "noisy": [*BETTER[:6], "running"]})
    running = compare(spec, accuracy, trials, protocol={})
    assert running.sentence.startswith(
        "No verdict: it is given once every declared trial has ended, and 14 of 16 confirm runs "
        "have. So far"
    )
    done = compare(*_with(make_grid, accuracy), protocol={})
    facts = {fact.name: fact.value for fact in done.held_equal}
    assert facts["Tuning"] == (
        "nothing was tuned: each arm ran the same 2 settings, every combination of the shared "
        "space's values"
    )
    assert facts["Shared space"] == "lr one of 0.01, 0.1; momentum fixed at 0.9"
    assert not {"Search budget", "Selection"} & set(facts)
    assert "validation" not in facts["Judged by"]
    assert (done.search, done.diagnostics.rates, done.diagnostics.importances) == ((), (), ())
    assert not any(
        "winner" in one or "lies at the" in one or "validation" in one for one in done.warnings
    )


def test_each_arm_at_its_best_setting_is_told(
    make_grid: Make, accuracy: Metric, loss: Metric
) -> None:
    """A verdict over good and bad settings is not one of tuned arms; with a metric that is better
    smaller, the best mean is the lowest.
    """
    spec, trials = make_grid({"baseline": BASE, "noisy": [*BETTER[:6], "diverged", "running"]})
    of_mean = "Nothing was tuned: the verdict is of the mean over 2 settings, good and bad."
    best = f"{of_mean} At the setting with its best mean, on the same test data, each arm has"
    accurate, lossy = (
        compare(spec, metric, trials, protocol={}).warnings[-1] for metric in (accuracy, loss)
    )
    assert accurate == f"{best}: baseline 0.557 at lr 0.1, noisy 0.78 at lr 0.1."
    assert lossy == f"{best}: baseline 0.143 at lr 0.01, noisy 0.78 at lr 0.1."
    one, trials = make_grid({"baseline": BASE[:4], "noisy": BETTER[:4]}, rates=[0.1])
    assert compare(one, accuracy, trials, protocol={}).warnings == ()


def test_without_any_run_there_is_a_comparison_that_says_so(
    make_grid: Make, accuracy: Metric
) -> None:
    spec, _ = make_grid({"baseline": BASE, "noisy": BETTER})
    comparison = compare(spec, accuracy, [], protocol={})
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
    spec, trials = make_grid({"baseline": BASE, "noisy": ["failed"] * 8})
    comparison = compare(spec, accuracy, trials, protocol={})
    assert comparison.sentence == "No verdict: every confirm run of noisy failed with an error."


def test_further_seeds_are_seeds_of_every_setting(make_grid: Make, accuracy: Metric) -> None:
    spec, trials = make_grid({"baseline": BASE[:4], "noisy": BETTER[:4]})
    difference = compare(spec, accuracy, trials, protocol={}).differences[0]
    assert difference.further_seeds == 1  # of 6 pairs at least, 4 are there, and a seed is 2
    mixed = [value + (0.3 if i % 4 < 2 else -0.2) for i, value in enumerate(BASE)]
    undecided = compare(*_with(make_grid, accuracy, mixed), protocol={}).differences[0]
    assert undecided.further_seeds is not None
    assert (
        f"about {undecided.further_seeds} more paired seeds of every setting would decide"
        in undecided.sentence
    )


def test_a_look_at_a_few_seeds_is_one_at_as_many_pairs_as_they_have_settings(
    make_grid: Make, accuracy: Metric
) -> None:
    confirm = {"n_seeds": 8, "looks": [4], "boundary": "pocock"}
    spec, trials = make_grid({"baseline": BASE, "noisy": BETTER}, confirm=confirm)
    assert planned(spec) == spec
    comparison = compare(spec, accuracy, trials, protocol={})
    assert (comparison.is_final, len(comparison.seeds), comparison.verdict) == (True, 8, "helps")
    assert "This is look 1 of the 2 that were declared, at 4 of 8 seeds" in comparison.sentence
    early, _ = make_grid({"baseline": BASE, "noisy": BETTER}, confirm=confirm | {"looks": [3]})
    with pytest.raises(InvalidSpecError) as refused:
        planned(early)
    assert refused.value.errors[0].legal == "at least 4 seeds at this look"


def test_the_seeds_of_a_power_are_its_pairs_over_the_settings(make_grid: Make) -> None:
    """12 pairs at a standard deviation that is the smallest difference."""
    spec, _ = make_grid({"baseline": BASE, "noisy": BETTER}, smallest_difference=0.05)
    values = spec.model_dump(mode="json") | {
        "confirm": {"power": {"power": 0.8, "sd": 0.05}, "epochs": 3}
    }
    assert planned(StudySpec.model_validate(values)).confirm.n_seeds == 6


def _with(
    make_grid: Make, metric: Metric, noisy: list[float] | None = None
) -> tuple[StudySpec, Metric, list[Trial]]:
    spec, trials = make_grid({"baseline": BASE, "noisy": noisy or BETTER})
    return spec, metric, trials


@pytest.mark.parametrize("n_studies", [400, pytest.param(4_000, marks=pytest.mark.slow)])
def test_arms_that_are_equal_at_every_setting_are_called_different_in_at_most_5_percent(
    make_grid: Make, accuracy: Metric, n_studies: int
) -> None:
    """However much means and spreads differ between the settings: 3 seeds of 4 each. Bound: three
    standard errors of the simulation.
    """
    rng = np.random.default_rng(11)
    means, spreads = np.tile([0.1, 0.9, 0.5, 0.5], 3), np.tile([0.001, 0.01, 0.1, 0.3], 3)
    wrong = 0
    for _ in range(n_studies):
        baseline, noisy = (means + spreads * rng.normal(size=12) for _ in range(2))
        p = signed_rank_p((noisy - baseline).tolist())
        if p <= ALPHA:  # beyond, the verdict is neither
            values = {"baseline": baseline.tolist(), "noisy": noisy.tolist()}
            spec, trials = make_grid(values, rates=(0.01, 0.03, 0.1, 0.3), smallest_difference=1e-9)
            wrong += judge(
                spec, accuracy, seed_rows(spec, accuracy, trials), "noisy", p=p, lacking=None
            ).verdict in ("helps", "hurts")
    assert wrong / n_studies <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / n_studies)
