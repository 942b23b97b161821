"""Training functions: workloads that contain their training loop.

A training function is a plain function `train(trial)`, declared with its metrics.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gradnoise._hook import GradientNoise, attach
from gradnoise._processes import NoiseProcess
from gradnoise.parameters import Parameter
from gradnoise.rules import Rule
from gradnoise.signatures import first_sentence
from gradnoise.techniques.contribution import Place
from gradnoise.workloads.base import Direction, Metric, NoOptions
from gradnoise.workloads.lr_schedules import lr_factor

UNBOUNDED_WORST: Mapping[Direction, float] = {"maximize": -1e6, "minimize": 1e6}
"""The worst value of a metric whose range is not declared."""


@dataclass(frozen=True, kw_only=True)
class FunctionWorkload:
    """A declared training function, made by `function`.

    The fields are the class attributes of a Workload.
    """

    name: str
    description: str
    metrics: tuple[Metric, ...]
    parameters: tuple[Parameter, ...]
    rules: tuple[Rule, ...]
    Options: type
    train: Callable[["Trial"], None]
    stacks: bool = False
    places: tuple[Place, ...] = ("gradient",)  # all that a function hands over is its optimizer

    def __call__(self, trial: "Trial") -> None:
        self.train(trial)


def function(
    *,
    name: str | None = None,
    description: str | None = None,
    metrics: Sequence[Metric] | Mapping[str, Direction],
    parameters: Sequence[Parameter] = (),
    rules: Sequence[Rule] = (),
    options: type = NoOptions,
) -> Callable[[Callable[["Trial"], None]], FunctionWorkload]:
    """Declare a training function as a workload.

    It is run from its file by `gradnoise run`, or named in the entry-point group
    `gradnoise.workloads`.

    Args:
        name: The name of the workload, that of the function by default; also of the entry point.
        description: One sentence for users who choose a workload; by default the first of the
            docstring.
        metrics: What it reports; the first is the objective unless a study names another. In short
            as `{"accuracy": "maximize"}`; then a lost run counts as -1e6, or as 1e6 where the
            metric is minimised.
        parameters: Hyperparameters in addition to those of the optimizer and the techniques.
        rules: Rules across these hyperparameters.
        options: A frozen dataclass of `option(...)` fields.

    Raises:
        ValueError: If there is no metric, or a direction is unknown.

    >>> @function(metrics={"accuracy": "maximize"})
    ... def digits(trial):
    ...     "Classify digits."
    >>> digits.name, digits.description, digits.metrics[0].worst
    ('digits', 'Classify digits.', -1000000.0)
    """
    if not metrics:
        raise ValueError(f"metrics must name at least one metric, but got {metrics=}.")
    declared = _metrics(metrics) if isinstance(metrics, Mapping) else metrics

    def declare(train: Callable[["Trial"], None]) -> FunctionWorkload:
        return FunctionWorkload(
            name=train.__name__ if name is None else name,
            description=first_sentence(train) if description is None else description,
            metrics=tuple(declared),
            parameters=tuple(parameters),
            rules=tuple(rules),
            Options=options,
            train=train,
        )

    return declare


def _metrics(directions: Mapping[str, Direction]) -> list[Metric]:
    for name, direction in directions.items():
        if direction not in UNBOUNDED_WORST:
            raise ValueError(
                f"the direction of a metric must be maximize or minimize, but got "
                f"{name}={direction!r}."
            )
    return [
        Metric(name=name, direction=direction, worst=UNBOUNDED_WORST[direction])
        for name, direction in directions.items()
    ]


class Trial:
    """The trial that a training function runs.

    While the function runs, the global generators of torch, numpy and `random` belong to the trial
    and are seeded with its seed: a function that draws from them gives the same result every time.

    Attributes:
        params: Hyperparameters by name: the optimizer's (`lr`, ...), the techniques' and the
            workload's. If the study gives them, clipping (`clip_value`, `clip_norm`) and the
            learning-rate schedule (`lr_schedule`, ...) are among them; the function applies them,
            with `lr_factor` for the schedule.
        options: An instance of the declared options class.
        optimizer: Name of the study's optimizer: `sgd`, `adam`, ...
        seed: At least 0.
        budget_epochs: Epochs to train and to report, each once.
        with_test: Whether the test split is to be measured; if not, reported test values are
            ignored.
        epoch: Epochs reported so far.
    """

    def __init__(
        self,
        *,
        params: Mapping[str, Any],
        options: Any,
        optimizer: str,
        seed: int,
        budget_epochs: int,
        with_test: bool,
        metrics: Sequence[Metric],
        process: NoiseProcess | None,
        hand_over: Callable[[int, Mapping[str, float]], None],
    ) -> None:
        self.params = params
        self.options = options
        self.optimizer = optimizer
        self.seed = seed
        self.budget_epochs = budget_epochs
        self.with_test = with_test
        self.epoch = 0
        self._metrics = metrics
        self._process = process
        self._hand_over = hand_over
        self._noise: GradientNoise | None = None

    def noise(self, optimizer: torch.optim.Optimizer) -> None:
        """Apply the arm's techniques to the optimizer's gradients.

        Call it once, in every arm, before the first update.

        Raises:
            RuntimeError: If it was called before.
        """
        if self._noise is not None:
            raise RuntimeError("trial.noise was called twice: only one optimizer gets the noise.")
        if self._process is not None:
            self._noise = attach(optimizer, self._process, seed=self.seed)

    def lr_factor(self, epoch: int) -> float:
        """Return the factor of the learning rate under the study's schedule, 1 without one.

        Args:
            epoch: The epoch in which the rate is used, counted from 1 as in `report`.
        """
        return lr_factor(self.params, self.budget_epochs)(epoch - 1)

    def report(self, *, epoch: int, **values: float) -> None:
        """Report the values measured after an epoch; return when the next epoch may start.

        If the trial is pruned or cancelled, the call does not return: it raises an exception that
        passes every `except Exception` and runs each `finally`.

        Args:
            epoch: The epoch, counted from 1; every epoch in order.
            values: By `<split>_<metric>`: every declared metric on `validation`, and on `test` if
                `with_test`; others, such as `train_loss`, are optional.

        Raises:
            ValueError: If it is not the next epoch, or a declared metric is missing.
            TypeError: If a value is not a number.
            RuntimeError: If the arm's noise has not reached an update.
        """
        if epoch != self.epoch + 1 or epoch > self.budget_epochs:
            raise ValueError(
                f"epoch must be {self.epoch + 1}, of {self.budget_epochs} in all, but got {epoch=}."
            )
        splits = ("validation", "test") if self.with_test else ("validation",)
        missing = sorted(
            {f"{split}_{metric.name}" for split in splits for metric in self._metrics}
            - values.keys()
        )
        if missing:
            raise ValueError(
                f"report must give every declared metric, but it lacks {', '.join(missing)}."
            )
        if self._process is not None and (self._noise is None or self._noise.t == 0):
            raise RuntimeError(
                "the arm's noise reached no update: call trial.noise(optimizer) before the first "
                "optimizer.step()."
            )
        measured = {
            name: _number(name, value)
            for name, value in values.items()
            if self.with_test or not name.startswith("test_")
        }
        self.epoch = epoch
        self._hand_over(epoch, measured)


def _number(name: str, value: object) -> float:
    try:
        # numpy scalars convert too
        return float(value.detach() if isinstance(value, torch.Tensor) else value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, but got {value!r}.") from None
    except OverflowError:
        return math.inf
