"""What a search trial costs in each arm, measured before the first one."""

import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import replace

from gradnoise.training.trial import Failed, Finished, Measurement, TrialSpec
from gradnoise_service.domain.spec import StudySpec
from gradnoise_workers.calibration import trial_of
from gradnoise_workers.launcher import CheckInterrupt, Launcher, NotMeasuredError, WorkerLost

POLL_SECONDS = 0.5
SHORTEST = 1e-6
"""Seconds below which an epoch is not timed."""
EPOCHS = 2
"""Epochs that are trained; the last is measured, since the first includes what is done once."""


def search_costs(
    spec: StudySpec,
    launcher: Launcher,
    together: Mapping[str, int],
    check_interrupt: CheckInterrupt,
) -> dict[str, float]:
    """Return the device time of an epoch of each arm, in units of the cheapest arm's.

    It is measured with trials at the middle of their space, as many side by side as the search
    runs: each arm has its share of the slots, and no more trials than its searches start at once.
    It has two significant digits, so that small errors of the measurement do not change it.

    Args:
        spec: The study.
        launcher: Open, and idle.
        together: Most trials of an arm that train as one model.
        check_interrupt: Called regularly.

    Raises:
        NotMeasuredError: If no trial of an arm could be measured.
    """
    waiting = deque(_trials(spec, together, _n_at_once(spec, launcher.n_free())))
    arm_of = {trial.key: name for name, trial in waiting}
    seconds: dict[str, dict[str, float]] = {arm.name: {} for arm in spec.arms}
    faults: dict[str, str] = {}
    running: set[str] = set()
    while waiting or running:
        check_interrupt()
        while waiting and launcher.n_free():
            _, trial = waiting.popleft()
            running.add(trial.key)
            launcher.admit(trial)
        for event in launcher.events(POLL_SECONDS):
            if event.key not in running:
                continue
            if isinstance(event, Measurement) or (isinstance(event, Finished) and event.diverged):
                seconds[arm_of[event.key]][event.key] = event.seconds
            if isinstance(event, Failed | WorkerLost):
                fault = event.summary if isinstance(event, Failed) else event.reason
                faults[arm_of[event.key]] = fault
            if not isinstance(event, Measurement):
                running.discard(event.key)
    for arm, measured in seconds.items():
        if not measured:
            raise NotMeasuredError(f"no trial of {arm} could be timed: {faults[arm]}")
    means = {arm: statistics.fmean(measured.values()) for arm, measured in seconds.items()}
    least = max(min(means.values()), SHORTEST)
    return {arm: float(f"{max(mean, SHORTEST) / least:.2g}") for arm, mean in means.items()}


def _n_at_once(spec: StudySpec, n_free: int) -> int:
    """Return how many trials of an arm the search runs at once."""
    assert spec.search is not None
    lag = spec.search.lag_of(spec.search.n_trials)
    of_search = spec.search.n_trials if lag is None else min(lag + 1, spec.search.n_trials)
    share = max(1, -(-n_free // len(spec.arms)))
    return min(share, (spec.search.repeats or 1) * of_search)


def _trials(
    spec: StudySpec, together: Mapping[str, int], n_copies: int
) -> list[tuple[str, TrialSpec]]:
    middles = {arm.name: trial_of(spec, arm, key=f"cost.{arm.name}") for arm in spec.arms}
    return [
        (
            name,
            replace(
                trial,
                key=f"{trial.key}.{i}",
                seed=i,
                budget_epochs=min(EPOCHS, trial.budget_epochs),
                together=together.get(name, 0),
            ),
        )
        for i in range(n_copies)
        for name, trial in middles.items()
    ]
