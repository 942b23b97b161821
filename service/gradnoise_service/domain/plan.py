"""Plan: what a study will run, what this costs, and what it can detect."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a study runs at most.

    Args:
        n_trials: Trials of all phases and arms.
        n_epochs: Their epochs together; of a budget in steps, their measurements.
        device_seconds: Device time, from earlier trials of the same workload, options and
            optimizer; None without any.
        power: Which difference the study can detect, as a sentence.
    """

    n_trials: int
    n_epochs: int
    device_seconds: float | None
    power: str
