"""How each trial counts, and which setting of each arm goes into the confirm phase."""

import math
from collections.abc import Sequence

from service.compare.comparison import Outcome
from service.domain.spec import StudySpec
from service.domain.study import Metric, Trial


def choose(spec: StudySpec, metric: Metric, trials: Sequence[Trial]) -> dict[str, Trial | None]:
    """Return each arm's best search trial: the best value on validation, the earlier of two equals.

    A diverged trial is taken only where no other is complete; an arm of which none is gets None.
    """
    return {arm.name: _best(metric, [t for t in trials if t.phase == "search" and t.arm == arm.name]) for arm in spec.arms}


def outcome(trial: Trial) -> Outcome:
    """Return how a trial counts; a complete one without a finite value has diverged."""
    if trial.state == "complete":
        return "complete" if finite(trial.value) is not None and not trial.diverged else "diverged"
    return "open" if trial.state == "waiting" or trial.state == "running" else trial.state


def finite(value: float | None) -> float | None:
    """Return a value that can be reckoned with; beyond 1e100 its squares cannot, and no loss that has not diverged gets there."""
    return value if value is not None and math.isfinite(value) and abs(value) < 1e100 else None


def _best(metric: Metric, trials: Sequence[Trial]) -> Trial | None:
    complete = [trial for trial in trials if outcome(trial) == "complete"]
    if complete:
        return min(complete, key=lambda trial: (-metric.sign * (trial.value or 0.0), trial.number))
    diverged = [trial for trial in trials if outcome(trial) == "diverged"]
    return min(diverged, key=lambda trial: trial.number, default=None)
