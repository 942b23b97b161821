"""CSV holds every trial with all digits."""

import csv
import io
import math
from collections.abc import Callable

from gradnoise_service.compare.assembly import compare
from gradnoise_service.compare.intervals import mean_interval
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import Metric, Study, Trial
from gradnoise_service.report.csv import render, search_trials

MakeTrials = Callable[..., tuple[Design, list[Trial]]]
MakeStudy = Callable[..., Study]


def test_the_statistics_can_be_recomputed_from_the_csv(
    make_trials: MakeTrials, make_study: MakeStudy, accuracy: Metric
) -> None:
    design, trials = make_trials(
        {
            "baseline": [0.1 / 3, 0.2, math.nan, 0.1, 0.3, 0.1],
            "noisy": [0.9, "failed", 0.7, "diverged", 0.8, 1 / 7],
        }
    )
    comparison = compare(design, accuracy, trials, protocol={})
    rows = list(csv.DictReader(io.StringIO(render(make_study(design, accuracy), trials))))
    assert len(rows) == len(trials)
    confirm = {(row["arm"], int(row["number"])): row for row in rows if row["phase"] == "confirm"}
    gains = [
        float(confirm["noisy", i]["counts_as"]) - float(confirm["baseline", i]["counts_as"])
        for i in range(6)
    ]
    (difference,) = comparison.differences
    assert mean_interval(gains, level=0.95, seed=design.spec.seed) == difference.gain_interval
    assert [confirm["noisy", i]["outcome"] for i in range(4)] == [
        "complete",
        "failed",
        "complete",
        "diverged",
    ]
    assert [confirm["noisy", i]["value"] for i in (0, 1, 3)] == ["0.9", "", ""]
    search = next(
        row
        for row in rows
        if row["phase"] == "search" and row["arm"] == "noisy" and row["number"] == "2"
    )
    assert {name: search[name] for name in ("seed", "lr", "eta")} == {
        "seed": str(design.seed("search", "noisy", 2)),
        "lr": "0.03",
        "eta": "0.3",
    }


def test_without_trials_there_is_a_header(
    make_trials: MakeTrials, make_study: MakeStudy, accuracy: Metric
) -> None:
    design, _ = make_trials({"baseline": [0.1], "noisy": [0.2]})
    assert (
        render(make_study(design, accuracy), [])
        == "phase,arm,number,seed,outcome,value,counts_as,epochs,device_seconds\r\n"
    )


def test_search_trials_have_cells_that_programs_can_parse(
    make_trials: MakeTrials, make_trial: Callable[..., Trial], accuracy: Metric
) -> None:
    design, _ = make_trials({"baseline": [0.1], "noisy": [0.2]})
    trials = [
        make_trial(design, "search", "baseline", 0, -1 / 3),
        make_trial(design, "search", "baseline", 1, "diverged"),
    ]
    comparison = compare(design, accuracy, trials, protocol={})
    rows = list(csv.DictReader(io.StringIO(search_trials(comparison, ["lr", "eta"]))))
    assert [(row["outcome"], row["value"], row["lr"], row["eta"]) for row in rows] == [
        ("complete", "-0.3333", "0.01", "–"),
        ("diverged", "–", "0.02", "–"),
    ]
