"""Workloads that write their own training loop: a plain function `train(trial)`, declared with its
metrics.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gradnoise._hook import GradientNoise, attach
from gradnoise._processes import NoiseProcess
from gradnoise.parameters import Parameter
from gradnoise.techniques import ON_GRADIENTS
from gradnoise.workloads.base import Metric, NoOptions


@dataclass(frozen=True, kw_only=True)
class FunctionWorkload:
    """A declared training function; `function` makes it. The fields are those of a Workload's
    class.

    It takes the techniques that act through the optimizer: the others would have to reach into its
        loop.
    """

    name: str
    description: str
    metrics: tuple[Metric, ...]
    parameters: tuple[Parameter, ...]
    Options: type
    train: Callable[["Trial"], None]
    stacks: bool = False
    techniques: tuple[str, ...] | None = tuple(ON_GRADIENTS)

    def __call__(self, trial: "Trial") -> None:
        self.train(trial)


def function(
    *,
    name: str,
    description: str,
    metrics: Sequence[Metric],
    parameters: Sequence[Parameter] = (),
    options: type = NoOptions,
) -> Callable[[Callable[["Trial"], None]], FunctionWorkload]:
    """Declare a training function as a workload, to be named in the entry-point group
    `gradnoise.workloads`.

    Args:
        name: The name of the entry point too.
        description: One sentence for whoever chooses.
        metrics: What it reports; the first is the objective unless a study says otherwise.
        parameters: Hyperparameters of its own, beside the optimizer's and the technique's.
        options: A frozen dataclass of `option(...)` fields.
    """
    if not metrics:
        raise ValueError(f"metrics must name at least one metric, but got {metrics=}.")

    def declare(train: Callable[["Trial"], None]) -> FunctionWorkload:
        return FunctionWorkload(
            name=name,
            description=description,
            metrics=tuple(metrics),
            parameters=tuple(parameters),
            Options=options,
            train=train,
        )

    return declare


class Trial:
    """One training, as the function sees it.

    The global generators of torch, numpy and `random` are the trial's own while it runs, seeded
    with its seed: a function that draws from them gives the same result every time.

    Attributes:
        params: Hyperparameters by name: the optimizer's (`lr`, ...), the technique's and the
            workload's own. Clipping (`clip_value`, `clip_norm`) and the learning-rate schedule
            (`lr_schedule`, ...) are among them if a study gives them, and left to the function.
        options: An instance of the declared options class.
        optimizer: Name of the optimizer that the study asks for: `sgd`, `adam`, ...
        seed: At least 0.
        budget_epochs: Epochs to train and to report, each once.
        with_test: Whether the test split is to be measured; where it is not, test values that are
            reported all the same are left out.
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
        injection: NoiseProcess | None,
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
        self._injection = injection
        self._hand_over = hand_over
        self._noise: GradientNoise | None = None

    def noise(self, optimizer: torch.optim.Optimizer) -> None:
        """Apply the arm's technique to the optimizer's gradients; call it once, in every arm,
        before the first update.

        Raises:
            RuntimeError: If it was called before.
        """
        if self._noise is not None:
            raise RuntimeError("trial.noise was called twice: one optimizer gets the noise.")
        if self._injection is not None:
            self._noise = attach(optimizer, self._injection, seed=self.seed)

    def report(self, *, epoch: int, **values: float) -> None:
        """Hand over the values measured after an epoch, by `<split>_<metric>`, and wait to be told
        to go on.

        The call does not return when the trial is pruned or cancelled: it raises, passes every
            `except Exception`, and runs each `finally`.

        Args:
            epoch: 1 at the first report, and one more at each.
            values: Every declared metric on `validation`, and on `test` if `with_test`; others,
                such as `train_loss`, as you like.

        Raises:
            ValueError: If the epoch is not the next one, or a declared metric is missing.
            TypeError: If a value is not a number.
            RuntimeError: If the arm's technique never reached an update.
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
        if self._injection is not None and (self._noise is None or self._noise.t == 0):
            raise RuntimeError(
                "the arm's noise reached no update: call trial.noise(optimizer) before the first "
                "optimizer.step()."
            )
        kept = {
            name: _number(name, value)
            for name, value in values.items()
            if self.with_test or not name.startswith("test_")
        }
        self.epoch = epoch
        self._hand_over(epoch, kept)


def _number(name: str, value: object) -> float:
    try:
        # numpy scalars convert too
        return float(value.detach() if isinstance(value, torch.Tensor) else value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, but got {value!r}.") from None
    except OverflowError:
        return math.inf
