"""What a workload declares: options, data, model, initial weights, loss and metrics. It writes no
training loop and never sees noise.
"""

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from gradnoise.parameters import Parameter, check
from gradnoise.workloads.options import parse

Batch = tuple[torch.Tensor, ...]
"""Tensors whose first axis counts the examples."""

Forward = Callable[..., torch.Tensor]
"""The model with its present weights, called like the module itself."""


Tensors = Mapping[str, torch.Tensor]

StackedGradient = Callable[[Tensors, Tensors, Batch, Tensors], torch.Tensor]
"""The gradient of the loss of many models at once.

Takes the parameters by name, [members, *shape]; the buffers likewise, with dropout's masks where
something is dropped; and a batch, [members, examples, ...]. Writes the gradients, by name, into its
last argument, and returns the losses, [members].
"""

StackedMeasure = Callable[[Tensors, Tensors, Batch], Mapping[str, torch.Tensor]]
"""The metrics of many models at once, in evaluation mode.

Takes the parameters by name, [members, *shape]; the buffers likewise; and a batch that they share.
Returns each metric, [members].
"""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number that judges a trial.

    Args:
        name: Without the split: `accuracy` is measured as `validation_accuracy` and
            `test_accuracy`.
        direction: Which way is better.
        worst: What a diverged or failed trial counts as; from -1e100 to 1e100, and no trained model
            should be worse.
        description: One sentence, with the unit.
    """

    name: str
    direction: Literal["maximize", "minimize"]
    worst: float
    description: str = ""


CROSS_ENTROPY = Metric(
    name="loss",
    direction="minimize",
    worst=100.0,
    description="Mean cross-entropy, in nats; a diverged run counts as 100.",
)
"""100 nats: the right class had probability e^-100, on average, beyond any training that has not
diverged.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Splits:
    """The data: what is trained on, what the search judges by, and what is held out until the end."""

    train: Batch
    validation: Batch
    test: Batch

    @functools.lru_cache(maxsize=4)  # noqa: B019  # a few data sets, each copied to a device once
    def to(self, device: torch.device) -> "Splits":
        """Return the data on a device."""
        train, validation, test = (
            tuple(part.to(device) for part in split)
            for split in (self.train, self.validation, self.test)
        )
        return Splits(train=train, validation=validation, test=test)


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """The options of a workload that has none."""


class Workload(ABC):
    """A data set, a model, a loss and metrics, fixed by options; a subclass is named in the
    entry-point group `gradnoise.workloads`.

    The technique `dropout` drops activations where the model has a `gradnoise.workloads.Dropout()`.

    Many trials of a workload train as one model under `torch.func.vmap`, unless `stacks` is False
    or it is found that they cannot: where the model or the loss draws at random (but for
    `torch.nn.Dropout`), branches on values, leaves a parameter out or frozen, or has an operation
    that vmap refuses. Such trials train one at a time, and the log says why. Buffers, such as
    BatchNorm's, are each trial's own.

    Class attributes:
        name: The name of the entry point too.
        description: One sentence for whoever chooses.
        metrics: What is measured; the first is the objective unless a study says otherwise.
        parameters: Hyperparameters of its own, beside the optimizer's and the technique's; each may
            be missing from a study.
        Options: A frozen dataclass of `option(...)` fields.
        stacks: Whether trials may train as one model.
        techniques: The techniques it takes; None for all, with `dropout` only if its model has a
            place for it.

    Args:
        options: The options, JSON values; checked.
        params: Its own hyperparameters of this trial; checked. Read them as `self.params`.

    Raises:
        ValueError: If an option or a hyperparameter is unknown or illegal.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    parameters: ClassVar[tuple[Parameter, ...]] = ()
    Options: ClassVar[type] = NoOptions
    stacks: ClassVar[bool] = True
    techniques: ClassVar[tuple[str, ...] | None] = None

    def __init__(
        self, options: Mapping[str, object] = {}, params: Mapping[str, object] = {}
    ) -> None:
        check(params, self.parameters, required=())
        self.options: Any = parse(self.Options, options)
        self.params = dict(params)

    @property
    @abstractmethod
    def batch_size(self) -> int:
        """Examples in one update; an epoch is as many whole batches as the training data hold, in
        an order drawn anew each epoch.
        """

    @abstractmethod
    def data(self) -> Splits:
        """Return the data, on the CPU; the same object at every call is best, for then it is copied
        to a device only once.
        """

    @abstractmethod
    def model(self) -> torch.nn.Module:
        """Return the model, its weights still arbitrary."""

    @abstractmethod
    def initialise(self, model: torch.nn.Module, seed: int) -> None:
        """Set every weight, as a function of the seed alone: draw with
        `gradnoise.workloads.normal(seed, "init", 0, name, shape)`.
        """

    @abstractmethod
    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        """Return what training minimises, the mean over the batch, as a scalar."""

    def stacked_gradient(self) -> StackedGradient | None:
        """Return a faster way to the gradient of `loss` for many models at once; None:
        `torch.func.vmap` makes one from `loss`.
        """
        return None

    @abstractmethod
    def measure(self, forward: Forward, batch: Batch) -> Mapping[str, torch.Tensor]:
        """Return every metric over the batch, here a whole split, as scalars by name."""

    def stacked_measure(self) -> StackedMeasure | None:
        """Return a faster way to the metrics of many models at once; None: `measure` of one after
        the other, on a GPU under vmap.
        """
        return None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not dataclasses.is_dataclass(cls.Options):
            raise TypeError(
                f"{cls.__name__}.Options must be a dataclass, but it is {cls.Options!r}."
            )
