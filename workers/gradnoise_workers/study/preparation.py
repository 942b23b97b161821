"""Preparation before the first trial: a rehearsal of every arm, and the value without training."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from gradnoise.training.rehearsal import Rehearsal
from gradnoise_service.compare.facts.comparison import Untrained
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Study
from gradnoise_workers.calibration import trial_of
from gradnoise_workers.launcher import CheckInterrupt, Launcher

N_UNTRAINED = 5
"""Confirm seeds on which the untrained model is measured."""


def rehearsals(
    spec: StudySpec,
    parameters: Mapping[str, Sequence[str]],
    launcher: Launcher,
    check_interrupt: CheckInterrupt,
) -> Mapping[str, Rehearsal]:
    """Rehearse a trial of each arm and return what it did by arm; empty if the worker died.

    The techniques have the lowest values of their space, so that a noise that drowns the gradient
    here does so in the whole space.

    Args:
        spec: The study.
        parameters: The parameters of each technique and optimizer of the study, by its name.
        launcher: Where the trials run.
        check_interrupt: As for `Launcher.start`.
    """
    keys = {f"arms.{i}": arm for i, arm in enumerate(spec.arms)}
    specs = [
        trial_of(spec, arm, key, [name for each in arm.techniques for name in parameters[each]])
        for key, arm in keys.items()
    ]
    done = launcher.prepare(specs, check_interrupt)
    return {keys[key].name: rehearsal for key, rehearsal in done.items()}


def preparation_fault(spec: StudySpec, done: Mapping[str, Rehearsal]) -> str | None:
    """Return why a study cannot run; None if it can.

    The catalogue announces most rules, so that a submission is refused; what only a worker can
    check (the model, its data, the first batch, a training function) fails here, once for the
    study.
    """
    errors = {arm: rehearsal.error for arm, rehearsal in done.items() if rehearsal.error}
    if not errors:
        return None
    if len(errors) == len(spec.arms) and len(set(map(_summary, errors.values()))) == 1:
        return f"No arm can be trained: {next(iter(errors.values()))}"
    keys = {arm.name: f"arms.{i}" for i, arm in enumerate(spec.arms)}
    lines = [f"{keys[arm]} ({arm}): {error}" for arm, error in errors.items()]
    return "Not every arm can be trained.\n" + "\n".join(lines)


def _summary(error: str) -> str:
    return error.partition("\n")[0]


def untrained_level(
    study: Study, launcher: Launcher, check_interrupt: CheckInterrupt
) -> Untrained | None:
    """Measure the untrained model on the first confirm seeds and return its best value on test.

    Arms with other options have other models: each is measured. None if nothing was measured, as
    for a training function.
    """
    design, metric = study.design, study.metric
    trials = [trial_of(study.spec, arm, key=arm.name) for arm in study.spec.arms]
    options = [trial.options for trial in trials]
    specs = [
        replace(
            trial,
            key=f"{trial.key}.{i}",
            seed=design.seed("confirm", design.baseline.name, i),
            with_test=True,
        )
        for k, trial in enumerate(trials)
        if trial.options not in options[:k]
        for i in range(N_UNTRAINED)
    ]
    name = f"test_{metric.name}"
    measured = {
        key: found[name]
        for key, found in launcher.untrained(specs, check_interrupt).items()
        if math.isfinite(found.get(name, math.nan))
    }
    if not measured:
        return None
    best = max(measured.values(), key=lambda value: metric.sign * value)
    return Untrained(best=best, n_seeds=len({key.rpartition(".")[2] for key in measured}))
