"""Preparation before the first trial: one update of every arm, and the value without training."""

import math
from collections.abc import Mapping
from dataclasses import replace

from gradnoise_service.compare.facts.comparison import Untrained
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Study
from gradnoise_workers.calibration import trial_of
from gradnoise_workers.launcher import CheckInterrupt, Launcher

N_UNTRAINED = 5
"""Confirm seeds on which the untrained model is measured."""


def preparation_fault(
    spec: StudySpec, launcher: Launcher, check_interrupt: CheckInterrupt
) -> str | None:
    """Train one batch of each arm and return why the study cannot run; None if it can.

    The catalogue announces most rules, so that a submission is refused; what only a worker can
    check (the model, its data, the first batch) fails here, once for the study.
    """
    keys = {f"arms.{i}": arm for i, arm in enumerate(spec.arms)}
    specs = [trial_of(spec, arm, key) for key, arm in keys.items()]
    errors = launcher.prepare(specs, check_interrupt)
    if not errors:
        return None
    names = {key: arm.name for key, arm in keys.items()}
    return _message(errors, names)


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


def _message(errors: Mapping[str, str], names: Mapping[str, str]) -> str:
    if len(errors) == len(names) and len(set(errors.values())) == 1:
        return f"No arm can be trained: {next(iter(errors.values()))}"
    lines = [f"{key} ({names[key]}): {error}" for key, error in errors.items()]
    return "Not every arm can be trained.\n" + "\n".join(lines)
