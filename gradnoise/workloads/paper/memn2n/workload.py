"""The workload `memn2n`: the bAbI tasks and an end-to-end memory network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional

from gradnoise._streams import normal
from gradnoise.techniques.contribution import Place
from gradnoise.workloads.base import CROSS_ENTROPY, Batch, Forward, Metric, Splits, Workload
from gradnoise.workloads.losses import cross_entropy
from gradnoise.workloads.options import option
from gradnoise.workloads.paper.memn2n.data import N_TASKS, EncodedTask, encoded
from gradnoise.workloads.paper.memn2n.model import MemoryNetwork

INIT_STD = 0.1
BLANK_RATE = 0.1


@dataclass(frozen=True, kw_only=True)
class MemN2NOptions:
    """The options of the network and its data."""

    task: int = option(
        1,
        "The bAbI task, from 1 to 20; 0: all tasks together.",
        minimum=0,
        maximum=N_TASKS,
    )
    dim: int = option(
        20,
        "Length of an embedding; the paper uses 20 for a single task, 50 for all.",
        minimum=1,
        maximum=1_000,
    )
    hops: int = option(3, "Number of times the memory is read.", minimum=1, maximum=10)
    sentences: int = option(
        50, "Number of a story's latest sentences in the memory.", minimum=1, maximum=200
    )
    linear_epochs: int = option(
        0,
        "First epochs that are trained without the softmax over the memory (linear start).",
        minimum=0,
    )
    blanks: bool = option(
        True, "Whether training inserts an empty memory before each sentence with probability 0.1."
    )
    batch_size: int = option(32, "Examples per update.", minimum=1, maximum=900)


class MemN2N(Workload):
    """A memory network trained on the cross-entropy summed over a batch.

    From Sukhbaatar et al. 2015, arXiv:1503.08895: adjacent weight tying, position encoding and
    temporal encoding, the loss summed over the batch, all initial weights from N(0, 0.1^2), batches
    of 32, the latest 50 sentences, 10 % empty memories, SGD at learning rate 0.01 (0.005 with
    linear start) halved every 25 of 100 epochs, gradients clipped at norm 40.

    Our choices: the linear start lasts a given number of epochs (theirs ends by the validation
    loss); an empty memory increases the ages of all older sentences and is not read, as in their
    code; an answer of several words is a single word of the vocabulary. There is no null word: a
    sentence is the sum over its words, so no embedding must stay 0 when noise is added.
    """

    name = "memn2n"
    description = (
        "An end-to-end memory network that answers questions about short stories, the bAbI tasks."
    )
    metrics = (
        Metric(
            name="error",
            direction="minimize",
            worst=1.0,
            best=0.0,
            description="Share of questions answered wrongly, from 0 to 1.",
        ),
        CROSS_ENTROPY,
    )
    Options: ClassVar[type] = MemN2NOptions
    places: ClassVar[tuple[Place, ...]] = ("gradient", "weights", "loss")
    options: MemN2NOptions

    @property
    def batch_size(self) -> int:
        return self.options.batch_size

    def data(self) -> Splits:
        return self._encoded.splits

    def model(self) -> torch.nn.Module:
        n_updates = len(self.data().train[0]) // self.batch_size * self.options.linear_epochs
        return MemoryNetwork(
            n_vocabulary=len(self._encoded.vocabulary),
            n_sentences=self._encoded.n_sentences,
            dim=self.options.dim,
            hops=self.options.hops,
            n_linear_updates=n_updates,
            blank_rate=BLANK_RATE if self.options.blanks else 0.0,
        )

    @torch.no_grad()
    def initialise(self, model: torch.nn.Module, seed: int) -> None:
        for name, parameter in model.named_parameters():
            parameter.copy_(normal(seed, "init", 0, name, parameter.shape) * INIT_STD)

    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        story, question, answer = batch
        return cross_entropy(forward(story, question), answer, reduction="sum")

    def measure(self, forward: Forward, batch: Batch) -> Mapping[str, torch.Tensor]:
        story, question, answer = batch
        outputs = forward(story, question)
        return {
            "error": (outputs.argmax(1) != answer).float().mean(),
            "loss": functional.cross_entropy(outputs, answer),
        }

    @property
    def _encoded(self) -> EncodedTask:
        return encoded(self.options.task, self.options.sentences)
