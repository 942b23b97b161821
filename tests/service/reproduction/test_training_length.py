"""A study is judged at shorter training lengths from the measurements of its whole runs."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gradnoise_service.domain.design import Design
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Trial
from gradnoise_service.presets import PaperFigures
from gradnoise_service.reproduction.training_length import AtLength, at_lengths, first_with

EPOCHS = 36
LEARNS_AT = {"baseline": 30, "noisy": 11}
FIGURES = [PaperFigures(statistic="mean", values={"baseline": 0.1, "noisy": 0.9})]


def test_the_length_from_which_an_arm_helps_is_found(
    make_spec: Callable[..., StudySpec], accuracy: Metric
) -> None:
    """The noisy arm learns after epoch 10, the baseline after epoch 29: lengths are even epochs."""
    spec = grid(make_spec)
    results = run(spec, accuracy, lambda arm, epoch: 0.9 if epoch >= LEARNS_AT[arm] else 0.1)
    assert [result.epochs for result in results] == list(range(2, EPOCHS + 1, 2))
    verdicts = {result.epochs: result.claims[0].result.verdict for result in results}
    assert {length: verdicts[length] for length in (10, 12, 28, 30)} == {
        10: "no_difference",
        12: "helps",
        28: "helps",
        30: "no_difference",
    }
    assert results[5].means == pytest.approx({"baseline": 0.1, "noisy": 0.9})
    assert first_with(results, "noisy", "helps") is None
    assert first_with(results[:14], "noisy", "helps") == 12
    assert first_with(results, "noisy", "no_difference") == 30


def test_the_best_epoch_up_to_the_length_counts(
    make_spec: Callable[..., StudySpec], accuracy: Metric
) -> None:
    """An accuracy that falls after epoch 9 keeps its peak, the earlier of equal epochs."""
    spec = grid(make_spec, judge="best_validation_epoch")
    results = run(spec, accuracy, lambda _, epoch: 0.9 - 0.01 * abs(epoch - 9))
    assert results[3].means["baseline"] == pytest.approx(0.89)
    assert results[-1].means["baseline"] == pytest.approx(0.9)
    last = run(grid(make_spec), accuracy, lambda _, epoch: 0.9 - 0.01 * abs(epoch - 9))
    assert last[-1].means["baseline"] == pytest.approx(0.63)


@pytest.mark.parametrize(("judge", "late"), [("last_epoch", 0.0), ("best_validation_epoch", 0.5)])
def test_a_run_is_lost_from_the_length_at_which_it_diverged(
    make_spec: Callable[..., StudySpec], accuracy: Metric, judge: str, late: float
) -> None:
    """Shorter lengths have its value; longer ones the worst, or that of its best epoch."""
    spec = grid(make_spec, judge=judge)
    results = run(spec, accuracy, lambda _, __: 0.5, diverged_after=8)
    means = {result.epochs: result.means["noisy"] for result in results}
    assert means[8] == pytest.approx(0.5)
    assert means[10] == pytest.approx(late)


def test_lengths_need_a_fixed_setting_and_rate(
    make_spec: Callable[..., StudySpec], accuracy: Metric
) -> None:
    """With a search or a schedule, the setting or the rate depends on the length."""
    scheduled = grid(make_spec, space={"lr": 0.1, "lr_schedule": "cosine"})
    assert run(scheduled, accuracy, lambda _, __: 0.5) == []
    assert run(make_spec(), accuracy, lambda _, __: 0.5) == []


def grid(make_spec: Callable[..., StudySpec], **changes: Any) -> StudySpec:
    """Return a study without a search: one rate, six seeds, two arms."""
    fields: dict[str, Any] = {
        "search": None,
        "space": {"lr": 0.1},
        "arms": [
            {"name": "baseline", "technique": "none"},
            {"name": "noisy", "technique": "annealed", "space": {"eta": 0.01, "gamma": 0.55}},
        ],
        "confirm": {"n_seeds": 6, "epochs": EPOCHS},
    }
    return make_spec(**(fields | changes))


def run(
    spec: StudySpec,
    metric: Metric,
    value: Callable[[str, int], float],
    diverged_after: int | None = None,
) -> list[AtLength]:
    """Return the results of runs with the value of an arm and an epoch; the noisy may diverge."""
    trials: list[Trial] = []
    measured = {}
    for planned in Design.of(spec).trials("confirm", {}) if spec.search is None else ():
        ends = diverged_after if planned.arm == "noisy" and diverged_after else EPOCHS
        values = [value(planned.arm, epoch) for epoch in range(1, ends + 1)]
        trial = Trial(
            id=len(trials),
            study_id=1,
            phase="confirm",
            arm=planned.arm,
            number=planned.number,
            seed=planned.seed,
            budget_epochs=EPOCHS,
            state="complete",
            params=planned.params,
            value=max(values),
            epochs=ends,
        )
        trials.append(replace(trial, diverged=ends < EPOCHS))
        measured[trial.id] = [{"validation_accuracy": v, "test_accuracy": v} for v in values]
    return at_lengths(spec, metric, trials, measured, FIGURES)
