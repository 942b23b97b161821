"""What a stop on request leaves of a study: as much as every arm has started."""

from collections.abc import Sequence
from datetime import datetime

from gradnoise_service.domain.design import Design
from gradnoise_service.domain.errors import NothingToStopError
from gradnoise_service.domain.spec import Phase
from gradnoise_service.domain.stop import Stop, started_share
from gradnoise_service.domain.study import Study, Trial


def stop_of(study: Study, trials: Sequence[Trial], now: datetime, *, confirms: bool) -> Stop:
    """Return the stop of a study in its present phase, which is that of its last search.

    Of a search the first trials count that every search of every arm has started, of the confirm
    phase the first seeds that every arm has started which was not dropped at a look.

    Args:
        study: The study.
        trials: Its trials.
        now: The time.
        confirms: Whether only the search is stopped.

    Raises:
        NothingToStopError: If not every arm has started a trial; or, with `confirms`, if the search
            has ended.
    """
    design = study.design
    started = {(t.phase, t.arm, t.number) for t in trials if t.n_attempts}
    phase = _phase(design, trials)
    if confirms and phase != "search":
        raise NothingToStopError(
            f"The search of study {study.spec.name!r} has ended, or it has none: it can only be "
            "stopped without confirm."
        )
    n, n_declared = 0, 0
    if phase == "search":
        n, n_declared = _searched(design, started)
    elif phase == "confirm":
        n, n_declared = _confirmed(design, trials), design.looks[-1]
        if study.extensions:
            n_declared = design.n_seeds
    if not n and phase == design.phases[0]:
        raise NothingToStopError(
            f"Not every arm of study {study.spec.name!r} has started a trial: there is nothing to "
            "report."
        )
    return Stop(
        stopped_at=now,
        phase=phase,
        n=n,
        n_declared=n_declared,
        confirms=confirms,
        n_extensions=len(study.extensions),
    )


def _phase(design: Design, trials: Sequence[Trial]) -> Phase:
    """Return the phase of the search that is behind the others."""
    if "search" not in design.phases:
        return "confirm"
    searched = [
        t for t in trials if t.phase == "search" and design.counts("search", t.arm, t.number)
    ]
    if not searched or not all(trial.has_ended for trial in searched):
        return "search"

    def searches(of: Sequence[Trial]) -> set[tuple[str, int]]:
        return {(t.arm, design.place(t.phase, t.arm, t.number)[0]) for t in of}

    with_setting = searches([trial for trial in searched if trial.state == "complete"])
    confirmed = searches([trial for trial in trials if trial.phase == "confirm"])
    return "confirm" if with_setting <= confirmed else design.phases[-2]


def _searched(design: Design, started: set[tuple[Phase, str, int]]) -> tuple[int, int]:
    def has_started(arm: str, repeat: int, i: int) -> bool:
        return ("search", arm, repeat * design.n_declared(arm) + i) in started

    n, n_declared = started_share(
        (design.n_declared(arm.name), lambda i, a=arm.name, r=repeat: has_started(a, r, i))  # type: ignore[misc]
        for arm in design.spec.arms
        for repeat in range(design.n_repeats)
    )
    is_kept = all(design.n_declared(arm.name) * n // n_declared for arm in design.spec.arms)
    return (n if is_kept else 0), n_declared


def _confirmed(design: Design, trials: Sequence[Trial]) -> int:
    """Return the seeds on which every arm that goes on has started every run."""
    runs = [trial for trial in trials if trial.phase == "confirm"]
    if not runs:
        return 0
    last = max(run.number for run in runs)
    # an arm that was dropped at a look has fewer runs than the others
    going_on = {run.arm for run in runs if run.number > last - max(1, design.n_repeats)}
    waiting = [run.number for run in runs if run.arm in going_on and not run.n_attempts]
    return min(waiting, default=last + 1) // design.n_settings
