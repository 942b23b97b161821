"""The end-to-end memory network of Sukhbaatar et al. 2015 (arXiv:1503.08895) on the bAbI tasks;
section 4.2 of Neelakantan et al. 2015.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional

from gradnoise.streams import normal
from gradnoise.techniques.dropout_layers import Dropout
from gradnoise.workloads import babi
from gradnoise.workloads.base import CROSS_ENTROPY, Batch, Forward, Metric, Splits, Workload
from gradnoise.workloads.options import option

INIT_STD = 0.1
BLANK_RATE = 0.1


@dataclass(frozen=True, kw_only=True)
class MemN2NOptions:
    """What fixes the network and its data."""

    task: int = option(
        1,
        "The bAbI task, from 1 to 20; 0 for all of them together.",
        minimum=0,
        maximum=babi.N_TASKS,
    )
    dim: int = option(
        20,
        "Length of an embedding; the paper has 20 for one task, 50 for all.",
        minimum=1,
        maximum=1_000,
    )
    hops: int = option(3, "How often the memory is read.", minimum=1, maximum=10)
    sentences: int = option(
        50, "The memory holds so many of a story's sentences, the latest.", minimum=1, maximum=200
    )
    linear_epochs: int = option(
        0,
        "Epochs without the softmax over the memory at the beginning (linear start); 0: one stage.",
        minimum=0,
    )
    blanks: bool = option(
        True, "Whether empty memories are put between sentences at random in training, one in ten."
    )
    batch_size: int = option(32, "Examples in one update.", minimum=1, maximum=900)


class MemN2N(Workload):
    """A memory network with adjacent weight tying, position and temporal encoding, trained on the
    cross-entropy summed over a batch.

    From Sukhbaatar et al.: sum loss, N(0, 0.1^2) for all weights, batches of 32, the latest 50
    sentences, 10 % empty memories, SGD at 0.01 (0.005 with linear start) halved every 25 of 100
    epochs, gradients clipped at norm 40. We chose: the linear start lasts a given number of epochs,
    where they watched the validation loss; an empty memory shifts the ages of all older sentences
    and is not read itself, as in their code; words that make up one answer are one word. There is
    no null word: a sentence is the sum over the words that it has, so nothing has to be kept at
    zero when noise is added.
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
            description="Share of questions answered wrongly, from 0 to 1.",
        ),
        CROSS_ENTROPY,
    )
    Options: ClassVar[type] = MemN2NOptions
    options: MemN2NOptions

    @property
    def batch_size(self) -> int:
        return self.options.batch_size

    def data(self) -> Splits:
        return self._coded.splits

    def model(self) -> torch.nn.Module:
        n_updates = len(self.data().train[0]) // self.batch_size * self.options.linear_epochs
        return MemoryNetwork(
            n_vocabulary=len(self._coded.vocabulary),
            n_sentences=self._coded.n_sentences,
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
        return functional.cross_entropy(forward(story, question), answer, reduction="sum")

    def measure(self, forward: Forward, batch: Batch) -> Mapping[str, torch.Tensor]:
        story, question, answer = batch
        outputs = forward(story, question)
        return {
            "error": (outputs.argmax(1) != answer).float().mean(),
            "loss": functional.cross_entropy(outputs, answer),
        }

    @property
    def _coded(self) -> babi.Coded:
        return babi.coded(self.options.task, self.options.sentences)


class MemoryNetwork(torch.nn.Module):
    """Reads a memory of sentences `hops` times and names a word.

    u_1 = B q; in hop k: p = softmax(u_k^T m_i), o = sum_i p_i c_i, u_{k+1} = u_k + o; answer =
    softmax(W u_last). With E_0, ... embeddings and T_0, ... vectors of age: m = E_{k-1} + T_{k-1},
    c = E_k + T_k, B = E_0, W = E_hops^T. Word j of J in a sentence is weighted in coordinate k of d
    by l_kj = (1 - j/J) - (k/d) (1 - 2j/J).

    Args:
        n_vocabulary: Words; the number n_vocabulary stands where a sentence has no word.
        n_sentences: Sentences of a memory.
        dim: Length d of an embedding.
        hops: How often the memory is read.
        n_linear_updates: Updates in training before which p = u_k^T m_i, without the softmax.
        blank_rate: Chance of an empty memory before each sentence in training; in [0, 1).
    """

    updates: torch.Tensor

    def __init__(
        self,
        *,
        n_vocabulary: int,
        n_sentences: int,
        dim: int,
        hops: int,
        n_linear_updates: int = 0,
        blank_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.embeddings = torch.nn.Parameter(torch.empty(hops + 1, n_vocabulary, dim))
        self.ages = torch.nn.Parameter(torch.empty(hops + 1, n_sentences, dim))
        self.blanks = Dropout(blank_rate) if blank_rate else torch.nn.Identity()
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.n_linear_updates = n_linear_updates

    def forward(self, story: torch.Tensor, question: torch.Tensor) -> torch.Tensor:
        """Return the logarithmic odds of each word as the answer, [examples, words].

        Args:
            story: Words, [examples, sentences, words of a sentence], the latest sentence first.
            question: Words, [examples, words of a sentence].
        """
        n_vocabulary, dim = self.embeddings.shape[1:]
        there = (story < n_vocabulary).any(2)
        is_kept = self.blanks(there.to(self.ages.dtype).new_ones(there.shape)) > 0
        ages = torch.arange(there.shape[1], device=there.device)
        shifted = (ages + (~is_kept).cumsum(1)).clamp(max=there.shape[1] - 1)
        by_age = (shifted[:, :, None] == ages).to(self.ages.dtype)
        plain, tilted = bags(story, n_vocabulary, self.embeddings.dtype)
        place = torch.arange(1, dim + 1, device=story.device, dtype=self.embeddings.dtype) / dim
        memories = [
            plain @ words + (tilted @ words) * place + by_age @ vectors
            for words, vectors in zip(self.embeddings, self.ages, strict=True)
        ]
        plain, tilted = bags(question, n_vocabulary, self.embeddings.dtype)
        state = plain @ self.embeddings[0] + (tilted @ self.embeddings[0]) * place
        for inputs, outputs in itertools.pairwise(memories):
            scores = (inputs @ state[:, :, None])[:, :, 0]
            weights = torch.where(there, scores, -torch.inf).softmax(1)
            if self.n_linear_updates:
                weights = torch.where(self.updates < self.n_linear_updates, scores * there, weights)
            state = state + (weights[:, None] @ outputs)[:, 0]
        if self.training and self.n_linear_updates:
            self.updates.add_(1)
        return state @ self.embeddings[-1].T


def bags(
    words: torch.Tensor, n_vocabulary: int, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return how much each word counts in each sentence, [..., n_vocabulary], in two parts: the
    first + (k/d) times the second is l_kj.

    >>> first, second = bags(torch.tensor([1, 0, 2]), 2, torch.float64)
    >>> first.tolist(), second.tolist()
    ([0.0, 0.5], [1.0, 0.0])
    """
    is_word = words < n_vocabulary
    length = is_word.sum(-1, keepdim=True).clamp(min=1)
    place = torch.arange(1, words.shape[-1] + 1, device=words.device, dtype=dtype) / length
    empty = torch.zeros(*words.shape[:-1], n_vocabulary + 1, dtype=dtype, device=words.device)
    return (
        empty.scatter_add(-1, words, torch.where(is_word, 1 - place, 0.0))[..., :-1],
        empty.scatter_add(-1, words, torch.where(is_word, 2 * place - 1, 0.0))[..., :-1],
    )
