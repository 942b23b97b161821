"""What a search trial costs in each arm, in stacks of the size that the search has.

In a larger stack a trial takes less device time. Where the device time of the searches is to be
equal, all arms therefore train equally many trials at once, and the stacks of an arm with more
trials are no larger.
"""

import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import replace

from gradnoise.training.trial import Failed, Finished, Measurement, TrialSpec
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.spec import StudySpec
from gradnoise_workers.calibration import Stacking, trial_of
from gradnoise_workers.launcher import CheckInterrupt, Launcher, NotMeasuredError, WorkerLost

POLL_SECONDS = 0.5
SHORTEST = 1e-6
"""Seconds below which an epoch is not timed."""
MOST_EPOCHS = 20
"""Epochs that are trained; all but the first count, since the first includes what is done once."""
ENOUGH_SECONDS = 1.0
"""Device time of an arm's epochs after which no more are trained."""


def search_costs(
    spec: StudySpec, launcher: Launcher, stacking: Stacking, check_interrupt: CheckInterrupt
) -> dict[str, float]:
    """Return the device time of an epoch of each arm, in units of the cheapest arm's.

    It is measured with trials at the middle of their space, in stacks of the size that the search
    has. This size follows from the number of trials and thus from the costs: they are measured
    again until it is that of the measurement. A cost has two significant digits, so that small
    errors of the measurement do not change it.

    Args:
        spec: The study.
        launcher: Open, and idle.
        stacking: The calibrations of the arms.
        check_interrupt: Called regularly.

    Raises:
        NotMeasuredError: If no trial of an arm could be measured.
    """
    n_free = launcher.n_free()
    stacks = search_stacks(Design.of(spec), stacking, n_free)
    while True:
        n_copies = max(1, n_free // stacking.slots) * max(stacks.values())
        seconds = _epoch_seconds(spec, launcher, stacks, n_copies, check_interrupt)
        least = max(min(seconds.values()), SHORTEST)
        costs = {arm: float(f"{max(each, least) / least:.2g}") for arm, each in seconds.items()}
        following = search_stacks(Design.of(spec, costs=costs), stacking, n_free)
        if all(following[arm] >= n for arm, n in stacks.items()):
            return costs
        stacks = following


def search_stacks(design: Design, stacking: Stacking, n_slots: int) -> dict[str, int]:
    """Return by arm the most search trials that train as one model, if device time is equal.

    It is the share of a worker in the trials that the arm with the fewest trains at once, and at
    most the calibrated number.

    Args:
        design: The study, with its costs if they are known.
        stacking: The calibrations of the arms.
        n_slots: Slots of all workers together.
    """
    fewest = min((arm.name for arm in design.spec.arms), key=design.n_searched)
    n_trials, lag = design.n_searched(fewest), design.lag(fewest)
    n_at_once = design.n_repeats * (n_trials if lag is None else min(lag + 1, n_trials))
    n_workers = max(1, n_slots // stacking.slots)
    in_worker = min(-(-n_at_once // n_workers), stacking.slots // len(design.spec.arms))
    return {arm: max(1, min(n, in_worker)) for arm, n in stacking.together.items()}


def _epoch_seconds(
    spec: StudySpec,
    launcher: Launcher,
    stacks: Mapping[str, int],
    n_copies: int,
    check_interrupt: CheckInterrupt,
) -> dict[str, float]:
    """Return the median device time of an epoch of each arm's trials, the arms side by side."""
    waiting = deque(_trials(spec, stacks, n_copies))
    first = min(2, waiting[0][1].budget_epochs)
    running: dict[str, str] = {}
    seconds: dict[str, list[float]] = {arm.name: [] for arm in spec.arms}
    faults: dict[str, str] = {}
    while waiting or running:
        check_interrupt()
        while waiting and launcher.n_free():
            arm, trial = waiting.popleft()
            running[trial.key] = arm
            launcher.admit(trial)
        for event in launcher.events(POLL_SECONDS):
            if event.key not in running:
                continue
            arm = running[event.key]
            if isinstance(event, Failed | WorkerLost):
                faults[arm] = event.summary if isinstance(event, Failed) else event.reason
            elif isinstance(event, Measurement):
                seconds[arm] += [event.seconds] * (event.epoch >= first)
                continue
            elif isinstance(event, Finished):
                seconds[arm] += [event.seconds] * event.diverged
            else:
                continue
            del running[event.key]
        enough = {arm for arm, of_arm in seconds.items() if sum(of_arm) >= ENOUGH_SECONDS}
        for key in [key for key, arm in running.items() if arm in enough]:
            launcher.release(key)
            del running[key]
        waiting = deque((arm, trial) for arm, trial in waiting if arm not in enough)
    for arm, of_arm in seconds.items():
        if not of_arm:
            raise NotMeasuredError(f"no trial of {arm} could be timed: {faults[arm]}")
    return {arm: statistics.median(of_arm) for arm, of_arm in seconds.items()}


def _trials(
    spec: StudySpec, stacks: Mapping[str, int], n_copies: int
) -> list[tuple[str, TrialSpec]]:
    middles = {arm.name: trial_of(spec, arm, key=f"cost.{arm.name}") for arm in spec.arms}
    return [
        (
            name,
            replace(
                trial,
                key=f"{trial.key}.{stacks[name]}.{i}",
                seed=i,
                budget_epochs=min(MOST_EPOCHS, trial.budget_epochs),
                together=stacks[name],
            ),
        )
        for i in range(n_copies)
        for name, trial in middles.items()
    ]
