"""The workload `mlp`: images of ten classes and a deep, narrow ReLU network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch.nn import functional

from gradnoise._streams import normal
from gradnoise.rules import Rule, When
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
from gradnoise.workloads.losses import cross_entropy
from gradnoise.workloads.options import option
from gradnoise.workloads.paper.mlp.compiled import DenseLayer
from gradnoise.workloads.paper.mlp.data import N_CLASSES, N_TRAIN, first_images
from gradnoise.workloads.paper.mlp.dense import DenseNetworks
from gradnoise.workloads.paper.mlp.model import INITS, network


@dataclass(frozen=True, kw_only=True)
class MlpOptions:
    """The options of the network and its data."""

    dataset: Literal["digits", "mnist", "fashion-mnist"] = option(
        "digits", "The images: 8x8 digits, or the 28x28 images of MNIST or Fashion-MNIST."
    )
    depth: int = option(20, "Hidden layers.", minimum=1, maximum=200)
    width: int = option(50, "Units per hidden layer.", minimum=1, maximum=4096)
    init: Literal["simple", "he", "zero", "sussillo-abbott"] = option(
        "simple",
        "Initial weights: the paper's N(0, 0.1^2); N(0, 2 / n_inputs) of He et al.; all 0; or "
        "those of Sussillo and Abbott for ReLU.",
    )
    norm: Literal["none", "layer"] = option(
        "none", "Normalisation before each ReLU: none, or LayerNorm."
    )
    batch_size: int = option(100, "Examples per update.", minimum=1, maximum=50_000)
    train_examples: int = option(
        0,
        "Number of training images, the first of the training data; 0: all.",
        minimum=0,
        maximum=50_000,
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        *(
            Rule(
                kind="at_most",
                field=field,
                bound=n_train,
                when=(When(field="dataset", values=(dataset,)),),
                meaning="the training images",
            )
            for dataset, n_train in N_TRAIN.items()
            for field in ("train_examples", "batch_size")
        ),
        Rule(
            kind="at_most",
            field="batch_size",
            of="train_examples",
            when=(When(field="train_examples", other_than=(0,)),),
            meaning="the training images",
        ),
    )

    @property
    def n_train(self) -> int:
        """Training images."""
        return self.train_examples or N_TRAIN[self.dataset]


class Mlp(Workload):
    """Fully connected ReLU layers of equal width, trained on the mean cross-entropy of a batch.

    Our choices where the paper gives none: batches of 100, inputs in [0, 1], biases that start at
    0, the same rule of initial weights for all layers, noise on weights and biases, dropout after
    every hidden layer. The paper has no normalisation. `norm: layer` adds a LayerNorm (Ba et al.
    2016, arXiv:1607.06450) between each hidden layer and its ReLU, with gains that start at 1 and
    biases that start at 0.
    """

    name = "mlp"
    description = (
        "A deep, narrow network of fully connected ReLU layers that classifies images: handwritten "
        "digits, MNIST or Fashion-MNIST."
    )
    metrics = (
        Metric(
            name="accuracy",
            direction="maximize",
            worst=0.0,
            best=1.0,
            description="Share of images classified correctly, from 0 to 1.",
        ),
        CROSS_ENTROPY,
    )
    Options: ClassVar[type] = MlpOptions
    options: MlpOptions

    @property
    def batch_size(self) -> int:
        return self.options.batch_size

    def data(self) -> Splits:
        return first_images(self.options.dataset, self.options.n_train)

    def model(self) -> torch.nn.Module:
        return network(
            n_inputs=self.data().train[0].shape[1],
            width=self.options.width,
            depth=self.options.depth,
            n_classes=N_CLASSES,
            norm=self.options.norm,
        )

    @torch.no_grad()
    def initialise(self, model: torch.nn.Module, seed: int) -> None:
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.dim() == 1:
                parameter.fill_(1.0)
            else:
                std = INITS[self.options.init](parameter.shape[1])
                parameter.copy_(normal(seed, "init", 0, name, parameter.shape) * std)

    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        inputs, labels = batch
        return cross_entropy(forward(inputs), labels)

    def stacked_gradient(self) -> StackedGradient:
        """Return the gradients of networks of the layers.

        Raises:
            ValueError: If a training label is not a class: the compiled kernel does not check them.
        """
        labels = self.data().train[1]
        low, high = (int(bound) for bound in labels.aminmax())
        if labels.dtype is not torch.int64 or low < 0 or high >= N_CLASSES:
            raise ValueError(
                f"labels must be torch.int64 from 0 to {N_CLASSES - 1}, but got {labels.dtype} "
                f"from {low} to {high}."
            )
        return self._networks().gradient

    def measure(self, forward: Forward, batch: Batch) -> Mapping[str, torch.Tensor]:
        inputs, labels = batch
        outputs = forward(inputs)
        return {
            "accuracy": (outputs.argmax(1) == labels).float().mean(),
            "loss": functional.cross_entropy(outputs, labels),
        }

    def stacked_measure(self) -> StackedMeasure:
        networks = self._networks()

        def measure(
            weights: Tensors, _buffers: Tensors, batch: Batch
        ) -> Mapping[str, torch.Tensor]:
            outputs, labels = networks.outputs(weights, batch[0]), batch[1]
            losses = functional.cross_entropy(
                outputs.transpose(1, 2), labels.expand(len(outputs), -1), reduction="none"
            )
            return {
                "accuracy": (outputs.argmax(2) == labels).float().mean(1),
                "loss": losses.mean(1),
            }

        return measure

    def _networks(self) -> DenseNetworks:
        is_normed = self.options.norm == "layer"
        modules = 3 if is_normed else 2  # of a hidden layer; the model numbers them
        last = modules * self.options.depth
        hidden = [
            DenseLayer(
                weight=f"{i}.weight",
                bias=f"{i}.bias",
                gain=f"{i + 1}.weight" if is_normed else "",
                shift=f"{i + 1}.bias" if is_normed else "",
                mask=f"{i + modules - 1}.mask",
            )
            for i in range(0, last, modules)
        ]
        return DenseNetworks([*hidden, DenseLayer(weight=f"{last}.weight", bias=f"{last}.bias")])
