"""Findings as warnings."""

from collections.abc import Callable

import pytest

from gradnoise_service.compare.assembly import compare
from gradnoise_service.compare.facts.diagnostics import Divergence
from gradnoise_service.compare.facts.findings import (
    AllTied,
    AtEdge,
    BestSetting,
    CodeChanged,
    DivergedLater,
    EarlyStop,
    Finding,
    LostTrials,
    NoiseScale,
    NoTestData,
    NothingTuned,
    Retried,
    StillLearning,
    UnequalBudgets,
    UnequalDeviceTime,
    UnequalDivergence,
    UntunedSetting,
    WorseThanWorst,
)
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import Metric, Trial
from gradnoise_service.report.words.warnings import warning


def lost(phase: str, outcome: str, n: int = 1) -> Finding:
    values = {"arm": "noisy", "phase": phase, "outcome": outcome, "n": n, "n_declared": 3}
    return LostTrials.model_validate(values)


def divergence(n_diverged: int, baseline_n_diverged: int) -> Finding:
    return UnequalDivergence(
        divergence=Divergence(
            arm="noisy",
            baseline="baseline",
            phase="confirm",
            n_diverged=n_diverged,
            n=8,
            baseline_n_diverged=baseline_n_diverged,
            baseline_n=8,
            p_value=0.00699,
        )
    )


def noise(kind: str, limit: float, n: int) -> Finding:
    values = {"kind": kind, "arm": "noisy", "limit": limit, "n": n, "n_measured": 10}
    return NoiseScale.model_validate(values)


@pytest.mark.parametrize(
    ("finding", "expected"),
    [
        (
            UnequalDeviceTime(seconds={"baseline": 60.0, "noisy": 90.0}),
            "The searches did not take equal device time, as was declared: baseline 1 min 0 s, "
            "noisy 1 min 30 s, the most 1.5 times the least. The costs of a trial, by which the "
            "numbers of trials were set, were not those of the search, for example because trials "
            "ended early.",
        ),
        (
            UnequalBudgets(n_trials={"baseline": 1, "noisy": 9}),
            "The arms were not tuned equally: baseline 1 trial, noisy 9 trials. More trials find a "
            "better setting regardless of the technique.",
        ),
        (
            NoTestData(),
            "The workload measures no test data: settings were selected on the same validation "
            "data on which the arms are compared, on fresh seeds. The selection biases every arm's "
            "mean towards better values, more so the more settings it tried.",
        ),
        (lost("search", "diverged", 2), "2 of noisy's 3 search trials diverged."),
        (
            lost("confirm", "failed"),
            "1 of noisy's 3 confirm trials failed with an error: a lost run counts as 0.",
        ),
        (lost("rerun", "failed"), "1 of noisy's 3 rerun trials failed with an error."),
        (
            DivergedLater(arm="noisy", phase="confirm", n=2, n_declared=12),
            "2 of noisy's 12 confirm trials diverged after their best epoch on validation, whose "
            "value counts as declared.",
        ),
        (
            CodeChanged(parts=("workload mlp", "optimizer sgd")),
            "The code of workload mlp, optimizer sgd changed between the runs of this study: the "
            "verdict covers runs of the old and of the new code.",
        ),
        (
            Retried(n_trials=2, verdicts=("helps", "undecided")),
            "2 failed trials ran again on request, after the verdicts helps and undecided: "
            "without the retry they would count as lost.",
        ),
        (
            WorseThanWorst(measured=-5.0, declared=-1.0),
            "A run measured accuracy −5, worse than −1, the worst value that the workload "
            "declares: a lost run counts as 0, worse than every measured run.",
        ),
        (
            UntunedSetting(arm="noisy"),
            "Every ended search trial of noisy diverged: its setting is the first that was tried, "
            "not a tuned one.",
        ),
        (
            EarlyStop(n_seeds=12, n_declared=24),
            "The study ended early, at 12 of 24 seeds, because of its interim result: means after "
            "such a stop are biased, away from 0 if it stopped for a difference. The level of the "
            "interval and the error probability of the verdict remain valid.",
        ),
        (
            AllTied(arm="noisy", baseline="baseline"),
            "noisy and baseline tied on every seed: either the metric is too coarse or neither arm "
            "learned anything.",
        ),
        (
            AtEdge(arm="noisy", parameter="lr", values=(0.29,), end="upper"),
            "noisy's chosen lr = 0.29 lies at the upper end of its space (0.003 to 0.3, "
            "logarithmic): a better value may lie outside.",
        ),
        (
            AtEdge(arm="noisy", parameter="lr", values=(0.29, 0.3, 0.29), end="upper"),
            "noisy's chosen lr = 0.29 and 0.3 lie at the upper end of its space (0.003 to 0.3, "
            "logarithmic): a better value may lie outside.",
        ),
        (
            NothingTuned(
                n_settings=2,
                best=(
                    BestSetting(arm="baseline", mean=0.5575, params={"lr": 0.1}),
                    BestSetting(arm="noisy", mean=0.78, params={"lr": 0.01}),
                ),
            ),
            "Nothing was tuned: the verdict is on the mean over 2 settings, good and bad. Each "
            "arm's best mean over a setting, selected on the same data and so biased: "
            "baseline 0.5575 at lr 0.1, noisy 0.78 at lr 0.01.",
        ),
        (
            divergence(6, 0),
            "noisy diverged more often than baseline in the confirm phase: 6 of 8 against 0 of 8 "
            "trials (Fisher's exact test, p = 0.007).",
        ),
        (
            divergence(0, 6),
            "noisy diverged less often than baseline in the confirm phase: 0 of 8 against 6 of 8 "
            "trials (Fisher's exact test, p = 0.007).",
        ),
        (
            StillLearning(arm="noisy", from_epoch=16, to_epoch=20, gain=0.04),
            "noisy had not finished learning: from epoch 16 to 20 its mean validation accuracy "
            "still improved by 0.04, at least the smallest difference that matters (0.02). Longer "
            "training may change the verdict: `gradnoise extend --epochs` continues the runs.",
        ),
        (
            noise("noise_negligible", 0.01, 10),
            "The norm of noisy's noise was below 0.01 times that of the gradient in all measured "
            "epochs: too small to have much effect.",
        ),
        (
            noise("noise_dominant", 10.0, 6),
            "The norm of noisy's noise was above 10 times that of the gradient in 6 of 10 measured "
            "epochs: the updates were mostly noise.",
        ),
    ],
)
def test_every_finding_has_a_warning(
    make_trials: Callable[..., tuple[Design, list[Trial]]],
    accuracy: Metric,
    finding: Finding,
    expected: str,
) -> None:
    design, trials = make_trials({"baseline": [0.1], "noisy": [0.2]})
    comparison = compare(design, accuracy, trials, protocol={})
    assert warning(design, comparison, finding) == expected
