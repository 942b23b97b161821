"""Preparation: one training step of every arm before the first trial."""

from collections.abc import Mapping

from gradnoise_service.domain.spec import StudySpec
from gradnoise_workers.calibration import trial_of
from gradnoise_workers.launcher import CheckInterrupt, Launcher


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


def _message(errors: Mapping[str, str], names: Mapping[str, str]) -> str:
    if len(errors) == len(names) and len(set(errors.values())) == 1:
        return f"No arm can be trained: {next(iter(errors.values()))}"
    lines = [f"{key} ({names[key]}): {error}" for key, error in errors.items()]
    return "Not every arm can be trained.\n" + "\n".join(lines)
