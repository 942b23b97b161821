"""A trial as the trainers see it: the spec that they take, the events that they return."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from gradnoise.parameters import JsonValue
from gradnoise.training.files import SavedFile

ParamValue = JsonValue


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """A training run to execute.

    Equal specs give equal results in the same trainer on the same CPU, close ones elsewhere.

    Args:
        key: The caller's name for the trial; events carry it.
        workload: Name of the workload.
        options: The workload's options, JSON values; missing ones take the workload's defaults.
        techniques: Names of the techniques (`annealed`, `dropout`, ...), whose contributions are
            combined; `none`, like an empty tuple, contributes nothing.
        optimizer: Name of the optimizer (`sgd`, `adam`, ...).
        params: Hyperparameters by name: the optimizer's (`lr`, `momentum`, ...), those of every
            optimizer (`clip_norm`, `lr_schedule`, ...), the techniques' and the workload's.
        seed: Seeds initialisation, data order and noise, each through a separate stream; at least
            0.
        budget_epochs: Epochs to train; at least 1.
        report_every: Updates in an epoch; None: those of one pass over the training data.
        arm: Name of the arm; with phase and number for a training function alone.
        phase: `search`, `rerun` or `confirm`.
        number: Counts from 0 within phase and arm.
        rungs: Epochs, counted from 1, after which the trial waits until the caller lets it go on;
            each below budget_epochs.
        with_test: Whether to measure the held-out test split too: for trials that are compared, not
            for those of a search.
        together: Most trials that train as one model with it, itself included; 1: as a separate
            model; 0: as many as the trainer has slots. It does not change the results.
        time_limit_seconds: Device time after which it fails, above 0; None: no limit. A training
            function fails at once, other trials after their epoch.
        stall_seconds: Seconds without a sign of life after which it fails, above 0; None: no limit.
            A training function is ended by the trainer, another trial by whoever reads the trace.
        apart: Whether it trains apart from other trials, as a stack of its own, so that it is known
            if its process dies. It does not change the results.
        keep_weights: Whether its weights are kept as a file when it finishes: those that its last
            metrics were measured at; of a training function the state that it gave after its last
            report.
        keep_checkpoint: Whether its state after the last epoch stays when it has finished, for a
            longer training that continues it.
        earlier_budgets: Smaller values of budget_epochs with which it has been trained: it
            continues from the state that one of them left.
        checkpoint: Name under which its state is kept while it trains, and its files for good, a
            relative path; empty: they are not kept.

    Raises:
        ValueError: If a number is out of range.
    """

    key: str
    workload: str
    options: Mapping[str, object] = field(default_factory=dict)
    techniques: tuple[str, ...] = ("none",)
    optimizer: str = "sgd"
    params: Mapping[str, ParamValue] = field(default_factory=dict)
    seed: int
    budget_epochs: int
    report_every: int | None = None
    arm: str = ""
    phase: str = "search"
    number: int = 0
    rungs: tuple[int, ...] = ()
    with_test: bool = False
    together: int = 0
    time_limit_seconds: float | None = None
    stall_seconds: float | None = None
    apart: bool = False
    keep_weights: bool = False
    keep_checkpoint: bool = False
    earlier_budgets: tuple[int, ...] = ()
    checkpoint: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.techniques, str):
            raise TypeError(
                f"techniques must be a tuple of names, but got techniques={self.techniques!r}."
            )
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, but got seed={self.seed}.")
        if self.budget_epochs < 1:
            raise ValueError(
                f"budget_epochs must be at least 1, but got budget_epochs={self.budget_epochs}."
            )
        if self.report_every is not None and self.report_every < 1:
            raise ValueError(
                f"report_every must be at least 1, but got report_every={self.report_every}."
            )
        if any(not 1 <= rung < self.budget_epochs for rung in self.rungs):
            raise ValueError(
                f"rungs must lie in [1, budget_epochs), but got rungs={self.rungs} with "
                f"budget_epochs={self.budget_epochs}."
            )


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The metric values of a trial after an epoch.

    Args:
        key: The trial's key.
        epoch: Epochs trained so far, counted from 1.
        values: Metric values by `<split>_<metric>`, such as `train_loss`, `validation_accuracy`,
            `test_accuracy`.
        seconds: Device time of this epoch, evaluation included: CPU time on a CPU, wall-clock time
            on a GPU and of a training function; in a stack, the epoch's time
            divided by the number of members; 0 if the epoch is replayed from a checkpoint.
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
    """The trial has trained its budget, or has diverged.

    A trial diverges if a loss, a weight or a metric becomes non-finite.

    Args:
        key: The trial's key.
        diverged: Whether it has diverged.
        seconds: Device time not covered by a measurement: that of the epoch in which it diverged.
    """

    key: str
    diverged: bool = False
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The trial raised an exception.

    Args:
        key: The trial's key.
        error: The traceback.
        summary: The traceback's first line on the exception.
        seconds: Device time of the epoch in which it failed.
        may_retry: Whether another attempt may succeed.
    """

    key: str
    error: str
    summary: str
    seconds: float = field(default=0.0, compare=False)
    may_retry: bool = True


@dataclass(frozen=True, kw_only=True)
class Printed:
    """The trial has printed.

    Args:
        key: The trial's key.
        position: Characters that it printed before, also those that were left out.
        text: What it printed, as plain text; of trials that train as one model, what any of them
            printed, under a line that says so.
    """

    key: str
    position: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Saved:
    """The trial has saved a file."""

    key: str
    file: SavedFile


Event = Measurement | Finished | Failed | Printed | Saved
