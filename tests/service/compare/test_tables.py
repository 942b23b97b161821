"""Search points, confirm rows and summaries follow from the trials, in any order."""

from collections.abc import Callable

import pytest
from scipy import stats

from gradnoise_service.compare.choosing import Choice
from gradnoise_service.compare.facts.tables import Run
from gradnoise_service.compare.tables import reached, search_points, seed_rows, summary
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import Metric, Trial

Make = Callable[..., Trial]


def test_the_best_so_far_rises_with_complete_trials_alone(
    make_design: Callable[..., Design], make_trial: Make, accuracy: Metric, loss: Metric
) -> None:
    design = make_design(search={"n_trials": 8, "epochs": 3})
    trials = [
        make_trial(design, "search", "baseline", 3, 0.6),
        make_trial(design, "search", "baseline", 0, "failed"),
        make_trial(design, "search", "baseline", 1, 0.4),
        make_trial(design, "search", "baseline", 2, 0.9, state="pruned"),
        make_trial(design, "search", "baseline", 4, "diverged"),
        make_trial(design, "search", "baseline", 5, 0.5),
        make_trial(design, "search", "baseline", 6, "running"),
        make_trial(design, "search", "baseline", 7, "waiting", params=None),
    ]
    points = search_points(design, accuracy, trials)
    assert [point.best for point in points] == [None, 0.4, 0.4, 0.6, 0.6, 0.6, 0.6]
    assert [point.value for point in points] == [None, 0.4, 0.9, 0.6, None, 0.5, None]
    assert [point.outcome for point in points] == [
        "failed",
        "complete",
        "pruned",
        "complete",
        "diverged",
        "complete",
        "open",
    ]
    assert [point.best for point in search_points(design, loss, trials)] == [
        None,
        0.4,
        0.4,
        0.4,
        0.4,
        0.4,
        0.4,
    ]


def test_a_lost_confirm_run_has_the_metric_s_worst_value_and_a_missing_run_none(
    make_design: Callable[..., Design], make_trial: Make, loss: Metric
) -> None:
    design = make_design()
    values = [0.3, "diverged", "failed", "cancelled"]
    rows = seed_rows(
        design,
        loss,
        [make_trial(design, "confirm", "noisy", i, value) for i, value in enumerate(values)],
    )
    assert [row.runs["noisy"] for row in rows] == [
        Run(outcome="complete", value=0.3),
        Run(outcome="diverged", value=100.0),
        Run(outcome="failed", value=100.0),
        Run(outcome="cancelled", value=None),
        Run(outcome="open", value=None),
    ]
    assert [row.seed for row in rows] == [design.seed("confirm", "noisy", i) for i in range(5)]
    assert {row.runs["baseline"].outcome for row in rows} == {"open"}


def test_a_summary_counts_every_trial_once_and_its_seconds(
    make_design: Callable[..., Design], make_trial: Make, accuracy: Metric
) -> None:
    design = make_design()
    search = [
        make_trial(design, "search", "noisy", i, value)
        for i, value in enumerate([0.2, 0.7, "diverged", "failed"])
    ]
    confirm = [
        make_trial(design, "confirm", "noisy", i, value)
        for i, value in enumerate([0.6, 0.8, "diverged", "running"])
    ]
    rows = seed_rows(design, accuracy, confirm)
    arm = summary(
        design,
        accuracy,
        "noisy",
        [Choice(trial=search[1], rerun_mean=None)],
        rows,
        search + confirm,
    )
    assert (arm.chosen[0].setting, arm.chosen[0].number, arm.chosen[0].value) == (
        {"lr": 0.02, "eta": 0.3, "gamma": 0.1},
        1,
        0.7,
    )
    assert arm.search.model_dump() == {
        "n_declared": 4,
        "n_complete": 2,
        "n_diverged": 1,
        "n_pruned": 0,
        "n_failed": 1,
        "n_diverged_later": 0,
        "device_seconds": 8.0,
        "first_error": "",
    }
    assert (arm.confirm.n_ended, arm.confirm.n_declared) == (3, 5)
    assert (arm.mean, arm.median, arm.lowest, arm.highest) == (
        pytest.approx(1.4 / 3),
        0.6,
        0.0,
        0.8,
    )


def test_runs_at_a_threshold_reach_it_and_lost_runs_never(
    make_design: Callable[..., Design], make_trial: Make, accuracy: Metric, loss: Metric
) -> None:
    """Three runs with a value and two lost; the interval is scipy's Wilson interval of 2 in 5."""
    design = make_design()
    trials = [
        make_trial(design, "confirm", "noisy", i, value)
        for i, value in enumerate([0.9, 0.5, 0.3, "failed", "diverged", "cancelled"])
    ]
    rows = seed_rows(design, accuracy, trials)
    above, finite = (reached(accuracy, "noisy", threshold, rows) for threshold in (0.5, 0.0))
    assert (above.n_reached, above.n, finite.n_reached) == (2, 5, 3)
    reference = stats.binomtest(2, 5).proportion_ci(method="wilson")
    assert (above.interval.low, above.interval.high) == pytest.approx(
        (reference.low, reference.high)
    )
    below = reached(loss, "noisy", 0.5, seed_rows(design, loss, trials))
    assert (below.n_reached, below.n) == (2, 5)
