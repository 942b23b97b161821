"""The workload `char-lm`: a small causal Transformer that predicts the next character of a text."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pydoc_data.topics import topics
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from gradnoise._streams import normal
from gradnoise.techniques.dropout_layers import Dropout
from gradnoise.workloads.base import Batch, Forward, Metric, Splits, Workload
from gradnoise.workloads.losses import cross_entropy
from gradnoise.workloads.options import option

VOCABULARY = 128
"""The characters of ASCII; all others are read as its last."""
INIT_STD = 0.02


@functools.lru_cache(maxsize=1)
def text() -> torch.Tensor:
    """Return the characters of Python's language reference, as the standard library has it.

    Its versions have slightly different texts of about 465,000 characters or more.
    """
    characters = "\n\n".join(topics[topic] for topic in sorted(topics))
    return torch.tensor([min(ord(each), VOCABULARY - 1) for each in characters])


@functools.lru_cache(maxsize=4)
def sequences(characters: int, context: int) -> Splits:
    """Return the first characters: 80 % for training, the next 10 % for validation, 10 % for test.

    Each split is cut into sequences of inputs and targets, [sequences, context]; the targets are
    the inputs one place later.
    """
    n_train, n_held_out = characters - 2 * (characters // 10), characters // 10
    parts = text()[:characters].split_with_sizes([n_train, n_held_out, n_held_out])

    def cut(part: torch.Tensor) -> Batch:
        n = (len(part) - 1) // context * context
        return part[:n].view(-1, context), part[1 : n + 1].view(-1, context)

    train, validation, test = map(cut, parts)
    return Splits(train=train, validation=validation, test=test)


class Block(nn.Module):
    """Causal self-attention and a network of one hidden layer, each after a LayerNorm and with a
    residual connection (GPT-2; Radford et al. 2019).
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout1, self.dropout2 = Dropout(), Dropout()

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        states = states + self.dropout1(self.project(self._attention(self.norm1(states))))
        hidden = functional.gelu(self.widen(self.norm2(states)))
        return torch.add(states, self.dropout2(self.narrow(hidden)))

    def _attention(self, states: torch.Tensor) -> torch.Tensor:
        """softmax(Q K^T / sqrt(d)) V in each head; a place attends to itself and those before."""
        n, context, width = states.shape
        query, key, value = (
            part.reshape(n, context, self.heads, -1).transpose(1, 2)
            for part in self.attend(states).chunk(3, dim=-1)
        )
        scores = query @ key.transpose(-2, -1) / math.sqrt(width // self.heads)
        future = torch.ones(context, context, dtype=torch.bool, device=states.device).triu(1)
        weights = scores.masked_fill(future, -torch.inf).softmax(-1)
        attended: torch.Tensor = weights @ value
        return attended.transpose(1, 2).reshape(n, context, width)


class CharTransformer(nn.Module):
    """Embeddings of characters and places, blocks, a LayerNorm, and a linear layer."""

    def __init__(self, *, width: int, heads: int, layers: int, context: int) -> None:
        super().__init__()
        self.characters = nn.Embedding(VOCABULARY, width)
        self.places = nn.Parameter(torch.empty(context, width))
        self.dropout = Dropout()
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, VOCABULARY)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits of the next character at each place, [sequences, context, 128]."""
        states = self.dropout(self.characters(inputs) + self.places)
        logits: torch.Tensor = self.output(self.norm(self.blocks(states)))
        return logits


@dataclass(frozen=True, kw_only=True)
class CharLmOptions:
    """The options of the network and its data."""

    layers: int = option(2, "Blocks.", minimum=1, maximum=24)
    heads: int = option(4, "Heads of attention of each block.", minimum=1, maximum=16)
    head_width: int = option(
        16, "Units of a head; heads times head_width is the network's width.", minimum=1, maximum=64
    )
    context: int = option(32, "Characters in a sequence.", minimum=2, maximum=512)
    characters: int = option(
        100_000, "Characters of the text in all splits together.", minimum=20_000, maximum=450_000
    )
    batch_size: int = option(32, "Sequences per update.", minimum=1, maximum=256)


class CharLm(Workload):
    """A causal Transformer on Python's language reference, which the standard library ships.

    The text is split by position. Initial weights are those of GPT-2: N(0, 0.02^2), for the layers
    that add to the residual stream divided by sqrt(2 layers); biases 0, gains 1.
    """

    name = "char-lm"
    description = (
        "A character language model: a small causal Transformer on Python's language reference."
    )
    metrics = (
        Metric(
            name="bits_per_character",
            direction="minimize",
            worst=100.0,
            best=0.0,
            description="Mean cross-entropy of the next character, in bits.",
        ),
    )
    Options: ClassVar[type] = CharLmOptions
    options: CharLmOptions

    @property
    def batch_size(self) -> int:
        return self.options.batch_size

    def data(self) -> Splits:
        return sequences(self.options.characters, self.options.context)

    def model(self) -> nn.Module:
        return CharTransformer(
            width=self.options.heads * self.options.head_width,
            heads=self.options.heads,
            layers=self.options.layers,
            context=self.options.context,
        )

    @torch.no_grad()
    def initialise(self, model: nn.Module, seed: int) -> None:
        residual = 1 / math.sqrt(2 * self.options.layers)
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.dim() == 1:
                parameter.fill_(1.0)
            else:
                scale = residual if name.endswith(("project.weight", "narrow.weight")) else 1.0
                draws = normal(seed, "init", 0, name, parameter.shape)
                parameter.copy_(draws * INIT_STD * scale)

    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        inputs, targets = batch
        return cross_entropy(forward(inputs).flatten(0, 1), targets.flatten())

    def measure(self, forward: Forward, batch: Batch) -> Mapping[str, torch.Tensor]:
        inputs, targets = batch
        loss = functional.cross_entropy(forward(inputs).flatten(0, 1), targets.flatten())
        return {"bits_per_character": loss / math.log(2)}
