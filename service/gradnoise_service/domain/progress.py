"""Progress of a study: trials ended of each arm in each phase, and an estimate of the time left."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from gradnoise_service.domain.devices import DeviceChoice
from gradnoise_service.domain.spec import Phase
from gradnoise_service.domain.study import Study, StudyState
from gradnoise_service.domain.trial_errors import ArmError


@dataclass(frozen=True, kw_only=True)
class TrialCounts:
    """The stored trials of an arm in a phase, by state.

    Args:
        n_ended_now: Trials that ended since the study, or its last extension, started.
        best_value: Best value of a complete trial that was not lost, None if there is none.
        epochs_running: Epochs that the running trials have completed.
    """

    phase: Phase
    arm: str
    n_trials: int = 0
    n_ended: int = 0
    n_ended_now: int = 0
    n_running: int = 0
    n_pruned: int = 0
    n_failed: int = 0
    n_diverged: int = 0
    best_value: float | None = None
    epochs_running: int = 0


@dataclass(frozen=True, kw_only=True)
class ArmProgress:
    """Progress of one arm in one phase; `best_value` is None before the first complete trial."""

    arm: str
    phase: Phase
    n_trials: int
    n_ended: int
    n_running: int
    n_pruned: int
    n_failed: int
    n_diverged: int
    best_value: float | None


@dataclass(frozen=True, kw_only=True)
class NoiseRatio:
    """The norm of an arm's noise over that of the gradient, in its trials that started last.

    Args:
        median: The median over these trials, each at its last measured epoch.
        n: Their number.
    """

    arm: str
    median: float
    n: int


@dataclass(frozen=True, kw_only=True)
class QueuePlace:
    """Where a queued study stands.

    Args:
        place: 1 for the study that starts next.
        n_running: Studies that run.
        n_dispatchers: Dispatchers that are alive; without one no study starts.
        lacks: The devices of the study, if no dispatcher has such; others start before it.
        faults: Why GPUs of the dispatchers are not used, sentences; only if it lacks GPUs.
    """

    place: int
    n_running: int
    n_dispatchers: int
    lacks: DeviceChoice | None = None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A study's state at one moment.

    `seconds_left` extrapolates the rate so far; None while it is unknown. `queue` is that of a
    queued study. `errors` has the first error of each arm that had one, `noise` the ratio of noise
    to gradient of each arm that measured it.
    """

    study_id: int
    name: str
    state: StudyState
    arms: tuple[ArmProgress, ...]
    seconds_left: float | None
    verdict: str | None
    error: str | None
    queue: QueuePlace | None = None
    errors: tuple[ArmError, ...] = ()
    noise: tuple[NoiseRatio, ...] = ()


def progress(study: Study, stored: Iterable[TrialCounts], now: datetime) -> Progress:
    """Return a study's progress; phases that have not started are included with zeros."""
    design = study.design
    by_cell = {(counts.phase, counts.arm): counts for counts in stored}
    n_confirm = max((c.n_trials for c in by_cell.values() if c.phase == "confirm"), default=0)
    arms: list[ArmProgress] = []
    epochs_done = epochs_left = 0
    behind: set[str] = set()
    for phase in design.phases:
        n_epochs = design.epochs(phase)
        is_stored = any(counts.n_trials for (of, _), counts in by_cell.items() if of == phase)
        for arm in study.spec.arms:
            counts = by_cell.get((phase, arm.name), TrialCounts(phase=phase, arm=arm.name))
            # a dropped arm has fewer runs than the others
            is_dropped = phase == "confirm" and design.drops and counts.n_trials < n_confirm
            has_reached = is_stored and arm.name not in behind
            is_final = has_reached and (is_dropped or _is_final(study, phase))
            n_trials = counts.n_trials if is_final else design.n_trials(phase, arm.name)
            if design.ending_stop is not None:
                n_trials = counts.n_trials
            arms.append(_arm_progress(counts, n_trials))
            if counts.n_ended < n_trials:
                behind.add(arm.name)
            epochs_done += counts.n_ended_now * n_epochs + counts.epochs_running
            epochs_left += (n_trials - counts.n_ended) * n_epochs - counts.epochs_running
    return Progress(
        study_id=study.id,
        name=study.spec.name,
        state=study.state,
        arms=tuple(arms),
        seconds_left=_seconds_left(study, epochs_done, epochs_left, now),
        verdict=study.verdict,
        error=study.error,
    )


def _is_final(study: Study, phase: Phase) -> bool:
    """Return whether an arm that has reached a phase gets no further trials in it.

    It may have fewer than planned: a search may have too few settings or none, and a look may end
    the study before its last seed.
    """
    match phase:
        case "search":
            return bool(study.stops)
        case "rerun":
            return True
        case "confirm":
            is_declared = study.state == "running" and not study.design.is_sequential
            return is_declared or study.state == "complete"


def _arm_progress(counts: TrialCounts, n_trials: int) -> ArmProgress:
    return ArmProgress(
        arm=counts.arm,
        phase=counts.phase,
        n_trials=n_trials,
        n_ended=counts.n_ended,
        n_running=counts.n_running,
        n_pruned=counts.n_pruned,
        n_failed=counts.n_failed,
        n_diverged=counts.n_diverged,
        best_value=counts.best_value,
    )


def _seconds_left(study: Study, epochs_done: int, epochs_left: int, now: datetime) -> float | None:
    if study.state not in ("running", "stopping") or study.started_at is None or epochs_done == 0:
        return None
    return (now - study.started_at).total_seconds() / epochs_done * epochs_left
