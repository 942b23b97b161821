"""The deep, narrow ReLU network of Neelakantan et al. 2015, section 4.1, on images of ten classes."""

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch.func import vmap
from torch.nn import functional

from gradnoise.streams import normal
from gradnoise.techniques.dropout_layers import Dropout
from gradnoise.workloads.base import (
    CROSS_ENTROPY,
    Batch,
    Forward,
    Metric,
    Splits,
    StackedGradient,
    StackedMeasure,
    Tensors,
    Workload,
)
from gradnoise.workloads.data import N_TRAIN, images
from gradnoise.workloads.dense import DenseLayer, DenseNetworks
from gradnoise.workloads.options import option

N_CLASSES = 10

INITS: Mapping[str, Callable[[int], float]] = {
    "simple": lambda _n_inputs: 0.1,
    "he": lambda n_inputs: math.sqrt(2 / n_inputs),
    "zero": lambda _n_inputs: 0.0,
    "sussillo-abbott": lambda n_inputs: (
        math.sqrt(2 / n_inputs) * math.exp(1.2 / (max(n_inputs, 6) - 2.4))
    ),
}
"""Standard deviation of a layer's initial weights, from its number of inputs.

`simple`: the paper's N(0, 0.1^2); `he`: He et al. 2015, arXiv:1502.01852; `sussillo-abbott`:
    Sussillo & Abbott 2014, arXiv:1412.6558, ReLU.
"""


@dataclass(frozen=True, kw_only=True)
class MlpOptions:
    """What fixes the network and its data."""

    dataset: Literal["digits", "mnist", "fashion-mnist"] = option(
        "digits", "The images: 8x8 digits, or the 28x28 ones of the named set."
    )
    depth: int = option(20, "Hidden layers.", minimum=1, maximum=200)
    width: int = option(50, "Units of a hidden layer.", minimum=1, maximum=4096)
    init: Literal["simple", "he", "zero", "sussillo-abbott"] = option(
        "simple",
        "Initial weights: N(0, 0.1^2), the paper's; N(0, 2 / n_inputs) of He et al.; all 0; or "
        "Sussillo and Abbott's, for ReLU.",
    )
    norm: Literal["none", "layer"] = option(
        "none", "What normalises a hidden layer's sums before its ReLU: nothing, or LayerNorm."
    )
    batch_size: int = option(100, "Examples in one update.", minimum=1, maximum=50_000)
    train_examples: int = option(
        0,
        "Train on so many examples, the first of the training data; 0 for all.",
        minimum=0,
        maximum=50_000,
    )

    def __post_init__(self) -> None:
        if self.train_examples > N_TRAIN[self.dataset]:
            largest = N_TRAIN[self.dataset]
            raise ValueError(
                f"train_examples must be at most {largest} on {self.dataset}, but got "
                f"train_examples={self.train_examples}."
            )
        if self.batch_size > self.n_train:
            raise ValueError(
                f"batch_size must be at most {self.n_train}, the training examples, but got "
                f"batch_size={self.batch_size}."
            )

    @property
    def n_train(self) -> int:
        return self.train_examples or N_TRAIN[self.dataset]


class ReLU(Dropout):
    """A ReLU with a place for dropout after it: one module for both, as a module's call costs a
    narrow network some time.
    """

    def forward(self, activations: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.relu(activations))


class Mlp(Workload):
    """Fully connected ReLU layers of equal width, trained on the mean cross-entropy of a batch.

    The paper leaves open, and we chose: batches of 100, inputs in [0, 1], biases that start at 0,
        one rule of initial weights for all
    layers, noise on weights and biases alike, dropout after every hidden layer. The paper
    normalises nothing; `norm: layer` puts a LayerNorm (Ba et al. 2016, arXiv:1607.06450) between
    each hidden layer and its ReLU, its gains 1 and its biases 0 at the start.
    """

    name = "mlp"
    description = (
        "A deep, narrow network of fully connected ReLU layers that names images: handwritten "
        "digits, MNIST or Fashion-MNIST."
    )
    metrics = (
        Metric(
            name="accuracy",
            direction="maximize",
            worst=0.0,
            description="Share of images named rightly, from 0 to 1.",
        ),
        CROSS_ENTROPY,
    )
    Options: ClassVar[type] = MlpOptions
    options: MlpOptions

    @property
    def batch_size(self) -> int:
        return self.options.batch_size

    def data(self) -> Splits:
        return _data(self.options.dataset, self.options.n_train)

    def model(self) -> torch.nn.Module:
        n_inputs = self.data().train[0].shape[1]
        widths = [n_inputs, *[self.options.width] * self.options.depth]
        layers: list[torch.nn.Module] = []
        for n_in, n_out in itertools.pairwise(widths):
            norm = [torch.nn.LayerNorm(n_out)] if self.options.norm == "layer" else []
            layers += [torch.nn.Linear(n_in, n_out), *norm, ReLU()]
        return torch.nn.Sequential(*layers, torch.nn.Linear(widths[-1], N_CLASSES))

    @torch.no_grad()
    def initialise(self, model: torch.nn.Module, seed: int) -> None:
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.dim() == 1:
                parameter.fill_(1.0)
            else:
                parameter.copy_(
                    normal(seed, "init", 0, name, parameter.shape)
                    * INITS[self.options.init](parameter.shape[1])
                )

    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        inputs, labels = batch
        return functional.cross_entropy(forward(inputs), labels)

    def stacked_gradient(self) -> StackedGradient | None:
        return self._networks().gradient if self.options.norm == "none" else None

    def measure(self, forward: Forward, batch: Batch) -> Mapping[str, torch.Tensor]:
        inputs, labels = batch
        outputs = forward(inputs)
        return {
            "accuracy": (outputs.argmax(1) == labels).float().mean(),
            "loss": functional.cross_entropy(outputs, labels),
        }

    def stacked_measure(self) -> StackedMeasure | None:
        if self.options.norm != "none":
            return None
        networks = self._networks()

        def measure(
            weights: Tensors, _buffers: Tensors, batch: Batch
        ) -> Mapping[str, torch.Tensor]:
            return vmap(lambda outputs: self.measure(lambda _: outputs, batch))(
                networks.outputs(weights, batch[0])
            )

        return measure

    def _networks(self) -> DenseNetworks:
        hidden = [
            DenseLayer(weight=f"{i}.weight", bias=f"{i}.bias", mask=f"{i + 1}.mask")
            for i in range(0, 2 * self.options.depth, 2)
        ]
        return DenseNetworks(
            [
                *hidden,
                DenseLayer(
                    weight=f"{2 * self.options.depth}.weight", bias=f"{2 * self.options.depth}.bias"
                ),
            ]
        )


@functools.cache
def _data(dataset: str, n_train: int) -> Splits:
    splits = images(dataset)
    inputs, labels = splits.train
    return Splits(
        train=(inputs[:n_train], labels[:n_train]), validation=splits.validation, test=splits.test
    )
