"""What a trial is to the trainers: the order that goes in, the news that comes out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

ParamValue = float | int | str


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """One training to be done; equal specs give equal results on the same machine.

    Args:
        key: The caller's name for the trial; events carry it back.
        workload: Registered name of the workload.
        options: The workload's options, JSON values; missing ones take the workload's defaults.
        technique: Registered name of the technique (`none`, `annealed`, `constant`, ...).
        optimizer: Registered name of the optimizer (`sgd`, `adam`, ...).
        params: Hyperparameters by name: the training's (`lr`, `momentum`, `clip_norm`,
            `lr_schedule`, ...) and the technique's.
        seed: Seeds initialisation, data order and noise, each through its own stream; at least 0.
        budget_epochs: How many epochs to train; at least 1.
        rungs: Epochs (counted from 1) after which the trial waits for the caller's decision to go
            on; each below budget_epochs.
        with_test: Whether to measure the held-out test split too (only where the trial is judged,
            never while searching).
        checkpoint: Name under which its state is kept while it trains, a relative path; empty: it
            is not kept.
    """

    key: str
    workload: str
    options: Mapping[str, object] = field(default_factory=dict)
    technique: str = "none"
    optimizer: str = "sgd"
    params: Mapping[str, ParamValue] = field(default_factory=dict)
    seed: int
    budget_epochs: int
    rungs: tuple[int, ...] = ()
    with_test: bool = False
    checkpoint: str = ""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, but got {self.seed=}.")
        if self.budget_epochs < 1:
            raise ValueError(f"budget_epochs must be at least 1, but got {self.budget_epochs=}.")
        if any(not 1 <= rung < self.budget_epochs for rung in self.rungs):
            raise ValueError(
                f"rungs must lie in [1, budget_epochs), but got {self.rungs=} with "
                f"{self.budget_epochs=}."
            )


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The metric values of one trial after one epoch.

    Args:
        key: The trial's key.
        epoch: Epochs trained so far, counted from 1.
        values: Metric values by `<split>_<metric>`, such as `train_loss`, `validation_accuracy`,
            `test_accuracy`.
        seconds: Device seconds spent on this epoch, evaluation included; in a stack, the epoch's
            time divided by its members.
    """

    key: str
    epoch: int
    values: Mapping[str, float]
    seconds: float

    @property
    def is_finite(self) -> bool:
        return all(math.isfinite(value) for value in self.values.values())


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The trial has trained its budget (`diverged=False`), or a loss, a weight or a metric became
    non-finite (`diverged=True`).

    `seconds` is the device time that no measurement tells of: that of the epoch in which it
        diverged.
    """

    key: str
    diverged: bool = False
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The trial raised; `error` is the traceback, `summary` its first line on the error, `seconds`
    the device time of that epoch.
    """

    key: str
    error: str
    summary: str
    seconds: float = field(default=0.0, compare=False)


Event = Measurement | Finished | Failed
