"""The workload `neural-programmer`: questions about tables and the Neural Programmer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch.nn import functional

from gradnoise._streams import normal
from gradnoise.rules import Rule
from gradnoise.techniques.contribution import Place
from gradnoise.workloads.base import Batch, Forward, Metric, Splits, Workload
from gradnoise.workloads.options import option
from gradnoise.workloads.paper.neural_programmer.data import data
from gradnoise.workloads.paper.neural_programmer.model import Programmer

EPSILON = 1e-6


@dataclass(frozen=True, kw_only=True)
class NeuralProgrammerOptions:
    """The options of the network and its questions."""

    number_columns: int = option(1, "Columns of numbers per table.", minimum=1, maximum=10)
    text_columns: int = option(
        0, "Columns of words per table, before the columns of numbers.", minimum=0, maximum=10
    )
    answers: Literal["aggregates", "scalars", "entries", "all"] = option(
        "all",
        "The kind of answers: sums and counts; these and their differences; entries of the table; "
        "or all of these.",
    )
    conditions: int = option(2, "Largest number of conditions per question.", minimum=0, maximum=2)
    dim: int = option(
        32,
        "Length of an embedding, and of the states of both recurrent networks.",
        minimum=1,
        maximum=1_000,
    )
    steps: int = option(4, "Number of operations, applied in sequence.", minimum=1, maximum=10)
    dropout: float = option(
        0.0,
        "Dropout rate, in every arm, of the states that choose operations and columns; 0: dropout "
        "only under the technique `dropout`.",
        minimum=0,
        maximum=0.9999,
    )
    delta: float = option(
        10.0,
        "Error of a scalar answer above which its loss is linear.",
        minimum=0.01,
        maximum=1_000_000,
    )
    lookup_weight: float = option(
        50.0,
        "Weight of the loss of entry answers relative to that of scalar answers.",
        minimum=0,
        maximum=1_000_000,
    )
    train_examples: int = option(
        10_000,
        "Number of training questions, each about a different table.",
        minimum=100,
        maximum=50_000,
    )
    batch_size: int = option(50, "Examples per update.", minimum=1, maximum=50_000)

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            kind="at_most", field="batch_size", of="train_examples", meaning="the training examples"
        ),
    )


class NeuralProgrammer(Workload):
    """A network that answers questions about tables by a sequence of operations.

    In training each step applies a mixture of operations; in evaluation the likeliest operation.

    From Neelakantan, Le & Sutskever 2016, arXiv:1511.04834: both recurrent networks, the
    operations, four steps, the two losses, tables of 30 to 100 rows with numbers uniform in [-100,
    100], numbers in questions uniform in [-80, 80], batches of 50.

    Our choices: numbers have two decimals, and an answer counts as right if it is exact; the
    questions are those of `random_question`, with equal numbers of each kind; 10,000 training
    questions (theirs: 50,000); a condition is a mixture of comparisons, one with each number of the
    question (they compare with a mixture of the numbers, which has no gradient); a text matches if
    it is the same word (they learn a similarity); the name of a column has the embedding of its
    word; weights from N(0, 1 / n_inputs), biases 0; delta 10 and weight 50 of the losses; dropout
    on [q; h_t] where it chooses operations and columns, with the same mask at all steps of an
    example.
    """

    name = "neural-programmer"
    description = (
        "A network that learns to answer questions about tables by choosing built-in operations."
    )
    metrics = (
        Metric(
            name="accuracy",
            direction="maximize",
            worst=0.0,
            best=1.0,
            description="Share of questions answered exactly, from 0 to 1.",
        ),
        # at the largest delta: half the square of three sums of 10,000 is 4.5e8
        Metric(
            name="loss",
            direction="minimize",
            worst=1e9,
            description="Mean loss, in units of the answers; a diverged run counts as 1e9.",
        ),
    )
    Options: ClassVar[type] = NeuralProgrammerOptions
    places: ClassVar[tuple[Place, ...]] = ("gradient", "weights", "activations")
    options: NeuralProgrammerOptions

    @property
    def batch_size(self) -> int:
        return self.options.batch_size

    def data(self) -> Splits:
        options = self.options
        return data(
            options.text_columns,
            options.text_columns + options.number_columns,
            options.answers,
            options.conditions,
            options.train_examples,
        )

    def model(self) -> torch.nn.Module:
        options = self.options
        return Programmer(
            n_texts=options.text_columns,
            n_columns=options.text_columns + options.number_columns,
            dim=options.dim,
            n_steps=options.steps,
            dropout=options.dropout,
        )

    @torch.no_grad()
    def initialise(self, model: torch.nn.Module, seed: int) -> None:
        for name, parameter in model.named_parameters():
            std = math.sqrt(1 / parameter.shape[-1]) if parameter.dim() == 2 else 0.0
            parameter.copy_(normal(seed, "init", 0, name, parameter.shape) * std)

    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        *inputs, _, _, _ = batch
        return self._losses(forward(*inputs), batch).mean()

    def measure(self, forward: Forward, batch: Batch) -> Mapping[str, torch.Tensor]:
        *inputs, scalar, entries, _ = batch
        answers = forward(*inputs, True)
        is_right = ((answers[:, 0] - scalar).abs() < 0.005) & (
            (answers[:, 1:] > 0.5) == entries.flatten(1)
        ).all(1)
        return {
            "accuracy": is_right.float().mean(),
            "loss": self._losses(forward(*inputs), batch).mean(),
        }

    def _losses(self, answers: torch.Tensor, batch: Batch) -> torch.Tensor:
        *_, n_rows, scalar, entries, is_lookup = batch
        scalar_loss = functional.huber_loss(
            answers[:, 0], scalar, reduction="none", delta=self.options.delta
        )
        likelihood = torch.where(entries.flatten(1), answers[:, 1:], 1 - answers[:, 1:])
        # rows beyond the last contribute log 1
        entry_loss = -likelihood.clamp(min=EPSILON).log().sum(1) / (n_rows * entries.shape[2])
        return torch.where(is_lookup, self.options.lookup_weight * entry_loss, scalar_loss)
