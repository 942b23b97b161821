"""A study judged at shorter training lengths, from the measurements of its whole runs.

With a constant learning rate, the first epochs of a run are those of a shorter run: neither the
updates nor the noise depend on the budget. So one long study has the result at every length.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gradnoise_service.compare.assembly import compare
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.spec import Judge, StudySpec
from gradnoise_service.domain.study import Metric, Trial
from gradnoise_service.presets import LONG, PaperFigures
from gradnoise_service.reproduction.claims import Claim, CompleteStudy, claims

N_LENGTHS = 18
"""Lengths at which a study is judged, evenly spaced."""

Epochs = Sequence[Mapping[str, float | None]]
"""The values that a run measured, epoch by epoch."""


@dataclass(frozen=True, kw_only=True)
class AtLength:
    """A study after so many epochs: each arm's mean, and the claims judged there."""

    epochs: int
    means: dict[str, float | None]
    claims: list[Claim]


def at_lengths(
    spec: StudySpec,
    metric: Metric,
    trials: Sequence[Trial],
    measured: Mapping[int, Epochs],
    figures: Sequence[PaperFigures],
) -> list[AtLength]:
    """Return a study's results after every N_LENGTHS-th part of its training, shortest first.

    Empty if the study has a search or a schedule of the learning rate: its settings or its rates
    then depend on the length.

    Args:
        spec: The study.
        metric: Its objective.
        trials: Its trials, all ended.
        measured: The measurements of each trial, by id.
        figures: The paper's figures of the row.
    """
    if spec.search is not None or spec.confirm.epochs is None or "lr_schedule" in spec.space:
        return []
    last = spec.confirm.epochs
    lengths = sorted({max(1, round(last * (i + 1) / N_LENGTHS)) for i in range(N_LENGTHS)})
    return [_at_length(spec, metric, trials, measured, figures, length) for length in lengths]


def first_with(results: Sequence[AtLength], arm: str, verdict: str) -> int | None:
    """Return the epochs from which on the arm has the verdict at every length; None if never."""
    found = None
    for result in results:
        verdicts = {claim.arm: claim.result.verdict for claim in result.claims}
        if verdicts[arm] != verdict:
            found = None
        elif found is None:
            found = result.epochs
    return found


def _at_length(
    spec: StudySpec,
    metric: Metric,
    trials: Sequence[Trial],
    measured: Mapping[int, Epochs],
    figures: Sequence[PaperFigures],
    length: int,
) -> AtLength:
    confirm = spec.confirm.model_copy(update={"epochs": length})
    shorter = spec.model_copy(update={"confirm": confirm})
    ended = [_shortened(spec.judge, metric, t, measured[t.id], length) for t in trials]
    comparison = compare(Design.of(shorter), metric, ended, protocol={})
    study = CompleteStudy(scale=LONG, spec=shorter, comparison=comparison)
    return AtLength(
        epochs=length,
        means={arm.name: arm.mean for arm in comparison.arms},
        claims=claims(figures, study),
    )


def _shortened(judge: Judge, metric: Metric, trial: Trial, epochs: Epochs, length: int) -> Trial:
    """Return the trial as it would have ended after so many epochs."""
    if trial.state != "complete":
        return trial
    done = epochs[:length]
    value = _judged(judge, metric, done)
    diverged = trial.diverged and len(done) < length
    if value is None or (diverged and judge == "last_epoch"):
        diverged, value = True, metric.worst
    return replace(trial, budget_epochs=length, epochs=len(done), value=value, diverged=diverged)


def _judged(judge: Judge, metric: Metric, epochs: Epochs) -> float | None:
    """Return the test value of the epoch that counts; None if that epoch has none."""
    if judge == "last_epoch":
        return epochs[-1].get(f"test_{metric.name}") if epochs else None
    validated = [
        (metric.sign * value, -i)
        for i, epoch in enumerate(epochs)
        if (value := epoch.get(f"validation_{metric.name}")) is not None and math.isfinite(value)
    ]
    return epochs[-max(validated)[1]].get(f"test_{metric.name}") if validated else None
