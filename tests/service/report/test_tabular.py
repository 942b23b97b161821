"""Other programs get every trial with all its digits, and a table that LaTeX can set."""

import csv
import io
import math
from collections.abc import Callable

from gradnoise_service.compare import compare
from gradnoise_service.compare.comparison import Reached
from gradnoise_service.compare.intervals import mean_interval, share_interval
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Study, Trial
from gradnoise_service.report import csv_text, html, latex, markdown
from gradnoise_service.report.tabular import escaped

MakeTrials = Callable[..., tuple[StudySpec, list[Trial]]]
MakeStudy = Callable[..., Study]


def test_the_statistics_can_be_redone_from_the_csv(
    make_trials: MakeTrials, make_study: MakeStudy, accuracy: Metric
) -> None:
    spec, trials = make_trials(
        {
            "baseline": [0.1 / 3, 0.2, math.nan, 0.1, 0.3, 0.1],
            "noisy": [0.9, "failed", 0.7, "diverged", 0.8, 1 / 7],
        }
    )
    comparison = compare(spec, accuracy, trials, protocol={})
    rows = list(csv.DictReader(io.StringIO(csv_text(make_study(spec, accuracy), trials))))
    assert len(rows) == len(trials)
    confirm = {(row["arm"], int(row["number"])): row for row in rows if row["phase"] == "confirm"}
    gains = [
        float(confirm["noisy", i]["counts_as"]) - float(confirm["baseline", i]["counts_as"])
        for i in range(6)
    ]
    (difference,) = comparison.differences
    assert mean_interval(gains, level=0.95, seed=spec.seed) == difference.gain_interval
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
        "seed": str(spec.trial_seed("search", 2)),
        "lr": "0.03",
        "eta": "0.3",
    }


def test_of_no_trials_the_csv_is_its_head(
    make_trials: MakeTrials, make_study: MakeStudy, accuracy: Metric
) -> None:
    spec, _ = make_trials({"baseline": [0.1], "noisy": [0.2]})
    assert (
        csv_text(make_study(spec, accuracy), [])
        == "phase,arm,number,seed,outcome,value,counts_as,epochs,device_seconds\r\n"
    )


def test_the_latex_table_holds_the_numbers_of_each_arm(
    make_trials: MakeTrials, make_study: MakeStudy, accuracy: Metric
) -> None:
    noisy = [0.9, 0.8, 0.85, 0.9, 0.95, "diverged"]
    spec, trials = make_trials({"baseline": [0.1] * 6, "noisy": noisy}, name="a study_1")
    text = latex(make_study(spec, accuracy), compare(spec, accuracy, trials, protocol={}))
    interval = mean_interval([0.9, 0.8, 0.85, 0.9, 0.95, 0.0], level=0.95, seed=spec.seed)
    assert (
        rf"noisy & 0.95 & 0.7333 & {interval.low:.4g} to {interval.high:.4g} & 0.875 & 6 & 1 \\"
        in text.splitlines()
    )
    assert r"\caption{a study\_1." in text
    assert text.count("{") == text.count("}")
    assert text.count(r"\begin") == text.count(r"\end") == 2
    widths = {line.count("&") for line in text.splitlines() if line.endswith(r"\\")}
    assert widths == {6}


def test_shares_at_thresholds_have_columns_of_their_own(
    make_trials: MakeTrials, make_study: MakeStudy, accuracy: Metric
) -> None:
    spec, trials = make_trials({"baseline": [0.1] * 6, "noisy": [0.9] * 3 + [0.5] * 3})
    comparison = compare(spec, accuracy, trials, protocol={})
    ends = share_interval(0.5, 6, level=0.95)
    none = share_interval(0.0, 6, level=0.95)
    arms = [
        arm.model_copy(
            update={"reached": (Reached(threshold=0.8, n_reached=n, n=6, interval=interval),)}
        )
        for arm, n, interval in zip(comparison.arms, (0, 3), (none, ends), strict=True)
    ]
    study, shown = make_study(spec, accuracy), comparison.model_copy(update={"arms": tuple(arms)})
    text = latex(study, shown)
    assert r"Lost & $\geq 0.8$ \\" in text
    assert rf" & 50\,\% ({100 * ends.low:.0f} to {100 * ends.high:.0f}) \\" in text
    assert "Runs at 0.8 or above" in html(study, shown)
    assert "| noisy | 3 of 6 (18.8 % to 81.2 %) |" in markdown(study, shown)


def test_earlier_verdicts_are_told_of(
    make_trials: MakeTrials, make_study: MakeStudy, accuracy: Metric
) -> None:
    spec, trials = make_trials({"baseline": [0.1] * 8, "noisy": [0.9] * 8})
    comparison = compare(spec, accuracy, trials, protocol={}).model_copy(
        update={"looks": (6,), "false_verdict_chance": 0.0805}
    )
    study = make_study(spec, accuracy)
    assert (
        "after verdicts at 6 seeds. Of two equal arms, one is called better or worse at one look "
        "or another in up to 8.05 %" in html(study, comparison)
    )
    assert "at 6 seeds: up to 8.05 % of such studies err, not 5 %" in markdown(study, comparison)


def test_of_too_few_runs_the_table_has_no_interval(
    make_trials: MakeTrials, make_study: MakeStudy, accuracy: Metric
) -> None:
    spec, trials = make_trials({"baseline": [0.1] * 5, "noisy": []})
    lines = latex(
        make_study(spec, accuracy), compare(spec, accuracy, trials, protocol={})
    ).splitlines()
    assert r"baseline & 0.1 & 0.1 & -- & 0.1 & 5 & 0 \\" in lines
    assert r"noisy & -- & -- & -- & -- & 0 & 0 \\" in lines


def test_marks_of_latex_are_escaped() -> None:
    assert (
        escaped("a_b^c ~ {x} <1> ±2 #")
        == r"a\_b\textasciicircum{}c \textasciitilde{} \{x\} $<$1$>$ $\pm$2 \#"
    )
