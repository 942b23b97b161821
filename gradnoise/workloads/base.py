"""What a workload declares: options, data, model, initial weights, loss and metrics.

The trainers add the training loop and the noise.
"""

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from gradnoise.parameters import Parameter, check
from gradnoise.rules import Rule
from gradnoise.techniques.contribution import PLACES, Place
from gradnoise.workloads.options import parse

Batch = tuple[torch.Tensor, ...]
"""Tensors whose first axis counts the examples."""

Forward = Callable[..., torch.Tensor]
"""The model with its current weights, called like the module itself."""

Tensors = Mapping[str, torch.Tensor]

StackedGradient = Callable[[Tensors, Tensors, Batch, Tensors], torch.Tensor]
"""The gradients of the losses of many models at once.

Takes the parameters by name, [members, *shape]; the buffers likewise, with the masks of Dropout
layers that drop something; and a batch, [members, examples, ...]. Writes the gradients, by name,
into its last argument, and returns the losses, [members].
"""

StackedMeasure = Callable[[Tensors, Tensors, Batch], Mapping[str, torch.Tensor]]
"""The metrics of many models at once, in evaluation mode.

Takes the parameters by name, [members, *shape]; the buffers likewise; and a batch for all members.
Returns each metric, [members].
"""


Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number by which trials are compared.

    Args:
        name: Without the split: `accuracy` is measured as `validation_accuracy` and
            `test_accuracy`.
        direction: Which way is better.
        worst: The value of a diverged or failed trial; from -1e100 to 1e100. No trained model
            should be worse.
        description: One sentence, with the unit.
        best: The best possible value, better than worst, if both bound the metric: a study whose
            smallest difference is as large as their distance is rejected.
    """

    name: str
    direction: Direction
    worst: float
    description: str = ""
    best: float | None = None


CROSS_ENTROPY = Metric(
    name="loss",
    direction="minimize",
    worst=100.0,
    description="Mean cross-entropy, in nats; a diverged run counts as 100.",
)
"""100 nats mean an average probability of e^-100 for the right class, worse than any training that
has not diverged.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Splits:
    """The data: examples for training, for the search, and for the final comparison."""

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
    """The options of a workload without options."""


class Workload(ABC):
    """A data set, a model, a loss and metrics, fixed by options.

    A subclass is named in the entry-point group `gradnoise.workloads`.

    Many trials of a workload train as one model under `torch.func.vmap`, unless `stacks` is False
    or a check finds that they cannot: where the model or the loss draws random numbers (other than
    in `torch.nn.Dropout`), branches on values, leaves a parameter unused or frozen, or has an
    operation that vmap refuses. Such trials train one at a time, and the log gives the reason.
    Buffers, such as BatchNorm's, are separate for each trial.

    Class attributes:
        name: The name of the entry point too.
        description: One sentence for users who choose a workload.
        metrics: What is measured; the first is the objective unless a study names another.
        parameters: Hyperparameters in addition to those of the optimizer and the techniques; a
            study may omit them.
        rules: Rules across these hyperparameters.
        Options: A frozen dataclass of `option(...)` fields, with rules across them in `rules`.
        stacks: Whether trials may train as one model.
        places: The places at which techniques may act: `gradient`, `weights`, `activations` and
            `loss`. `activations` needs a `gradnoise.workloads.Dropout()` in the model, `loss` a
            loss that calls `gradnoise.workloads.cross_entropy`.

    Args:
        options: The options, JSON values; checked.
        params: The trial's values of `parameters`; checked. Read them as `self.params`.

    Raises:
        ValueError: If an option or a hyperparameter is unknown or illegal.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    parameters: ClassVar[tuple[Parameter, ...]] = ()
    rules: ClassVar[tuple[Rule, ...]] = ()
    Options: ClassVar[type] = NoOptions
    stacks: ClassVar[bool] = True
    places: ClassVar[tuple[Place, ...]] = PLACES

    def __init__(
        self, options: Mapping[str, object] = {}, params: Mapping[str, object] = {}
    ) -> None:
        check(params, self.parameters, rules=self.rules)
        self.options: Any = parse(self.Options, options)
        self.params = dict(params)

    @property
    @abstractmethod
    def batch_size(self) -> int:
        """The number of examples in an update.

        An epoch has as many whole batches as the training data fill, in a new order each epoch.
        """

    @abstractmethod
    def data(self) -> Splits:
        """Return the data, on the CPU.

        Return the same object at every call if you can: then it is copied to a device only once.
        """

    @abstractmethod
    def model(self) -> torch.nn.Module:
        """Return the model; its weights are still arbitrary."""

    @abstractmethod
    def initialise(self, model: torch.nn.Module, seed: int) -> None:
        """Set every weight as a function of only the seed.

        Draw with `gradnoise.workloads.normal(seed, "init", 0, name, shape)`.
        """

    @abstractmethod
    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        """Return what training minimises, the mean over the batch, as a scalar."""

    def stacked_gradient(self) -> StackedGradient | None:
        """Return a function that computes the gradients of `loss` of many models at once.

        None: they are computed by `torch.func.vmap`.
        """
        return None

    @abstractmethod
    def measure(self, forward: Forward, batch: Batch) -> Mapping[str, torch.Tensor]:
        """Return every metric over the batch, here a whole split, as scalars by name."""

    def stacked_measure(self) -> StackedMeasure | None:
        """Return a function that measures the metrics of many models at once.

        None: `measure` is called for each model in turn, on a GPU under vmap.
        """
        return None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not dataclasses.is_dataclass(cls.Options):
            raise TypeError(
                f"{cls.__name__}.Options must be a dataclass, but it is {cls.Options!r}."
            )
