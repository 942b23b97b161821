"""The neural GPU of Kaiser & Sutskever 2016, arXiv:1511.08228."""

import torch
from torch.nn import functional

from gradnoise.techniques.dropout_layers import Dropout
from gradnoise.workloads.losses import cross_entropy
from gradnoise.workloads.paper.neural_gpu.convolutions import banded, convolved
from gradnoise.workloads.paper.neural_gpu.data import PAD

N_INPUT_SYMBOLS, N_OUTPUT_SYMBOLS = 3, 4
N_CGRUS = 2
UNIFORM_SHARE = 0.2
RIGHT_DECAY = 0.9
PULL = 5e-4

Convolution = tuple[torch.Tensor, torch.Tensor]
"""A matrix and a bias, see `banded`."""


class GatedConvolutions(torch.nn.Module):
    """A network that transforms a sequence of n symbols in n steps.

    The state s has n x width cells with `maps` numbers each. At the start, its first column is the
    input's embedding and all else is 0. A step is two gated convolutions, each

        u = g(U * s + a),  r = g(R * s + b),  s <- u . s + (1 - u) . tanh(C * (r . s) + c),  g(x) =
        max(0, min(1, 1.2 sigmoid(x) - 0.1)),

    with 3 x 3 kernels. The output is the first column after a linear layer and a softmax.

    Args:
        longest: Bits of the longest training examples.
        width: Columns of the state.
        maps: Numbers per cell.
        sets: Sets of kernels and biases that the steps use in turn; once the longest length is
            passed, all steps use their mean.
        is_cut: Whether g is as above; else it is the sigmoid.
        n_passed: Lengths that count as passed before the first update.
        threshold: Share of right sequences above which a length is passed.
        pull_factor: Factor by which the penalty on the sets' differences grows with each length; at
            least 1.
        dropout: Share of the candidates, tanh(...), that is dropped in training; in [0, 1).
    """

    n_passed: torch.Tensor
    right: torch.Tensor

    def __init__(
        self,
        *,
        longest: int,
        width: int,
        maps: int,
        sets: int = 1,
        is_cut: bool = True,
        n_passed: int = 0,
        threshold: float = 0.9,
        pull_factor: float = 1.2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.longest, self.width, self.maps, self.sets = longest, width, maps, sets
        self.is_cut, self.threshold, self.pull_factor = is_cut, threshold, pull_factor
        self.embedding = torch.nn.Parameter(torch.empty(N_INPUT_SYMBOLS, maps))
        self.kernels = torch.nn.Parameter(torch.empty(sets, N_CGRUS, 3, 3, maps, 3, maps))
        self.biases = torch.nn.Parameter(torch.empty(sets, N_CGRUS, 3, maps))
        self.output = torch.nn.Linear(maps, N_OUTPUT_SYMBOLS)
        self.dropouts = torch.nn.ModuleList(Dropout(dropout) for _ in range(N_CGRUS))
        self.register_buffer("n_passed", torch.tensor(n_passed))
        self.register_buffer("right", torch.zeros(()))

    def forward(
        self, inputs: torch.Tensor, targets: torch.Tensor, draws: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the objective of training with draws; error, symbol error and loss without.

        Args:
            inputs: Symbols, [examples, symbols]; with draws each example in every length,
                [examples, lengths, symbols].
            targets: Likewise.
            draws: Choose the length, see `lengths`; [examples, 2].

        Returns:
            [examples] with draws; [3, examples] without.
        """
        if draws is None:
            return torch.stack(self.errors_and_loss(inputs, targets))
        difficulty = (self.n_passed + 1).clamp(max=self.longest)
        chosen = lengths(draws, difficulty, self.longest)
        index = (chosen - 1)[:, None, None]
        error, _, loss = self.errors_and_loss(
            *(torch.take_along_dim(part, index, 1)[:, 0] for part in (inputs, targets))
        )
        if self.sets > 1:
            pull = PULL * torch.pow(self.pull_factor, self.n_passed)
            loss = loss + pull * sum(
                (part - part.mean(0)).square().sum() for part in (self.kernels, self.biases)
            )
        if self.training:
            self.update_curriculum(error, chosen == difficulty)
        return loss

    def update_curriculum(self, error: torch.Tensor, is_current: torch.Tensor) -> None:
        """Update the average share of right sequences, and pass the length if it is high enough.

        Args:
            error: 1 for a sequence with a wrong symbol, else 0; [examples].
            is_current: Whether the sequence has the curriculum's present length; [examples].
        """
        n = is_current.sum()
        share = 1 - (error * is_current).sum() / n.clamp(min=1)
        right = torch.where(n > 0, RIGHT_DECAY * self.right + (1 - RIGHT_DECAY) * share, self.right)
        is_passed = right > self.threshold
        self.n_passed.add_(is_passed & (self.n_passed < self.longest))
        self.right.copy_(torch.where(is_passed, 0.0, right))

    def errors_and_loss(
        self, inputs: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return, for each example, three values, [examples] each.

        Returns:
            1 if a symbol is wrong, else 0; the share of wrong symbols; the symbols' mean
            cross-entropy, in nats.
        """
        logits, counts = self.run(inputs), inputs != PAD
        n = counts.sum(1)
        is_wrong = (logits.argmax(2) != targets) & counts
        losses = cross_entropy(logits.transpose(1, 2), targets.long(), reduction="none")
        return is_wrong.any(1).to(logits.dtype), is_wrong.sum(1) / n, (losses * counts).sum(1) / n

    def run(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logits of the output's symbols, [examples, symbols, 4].

        Args:
            inputs: The input's symbols, [examples, symbols].
        """
        one_hot = (inputs[:, :, None] == torch.arange(N_INPUT_SYMBOLS, device=inputs.device)).to(
            self.embedding.dtype
        )
        state = functional.pad(one_hot @ self.embedding, (0, (self.width - 1) * self.maps))
        is_there = inputs != PAD
        n_steps = is_there.sum(1, keepdim=True)
        convolutions = self.convolutions()
        for step in range(inputs.shape[1]):
            is_running = (is_there & (step < n_steps))[:, :, None]
            for (gates_of, candidate_of), dropout in zip(
                convolutions[step % self.sets], self.dropouts, strict=True
            ):
                gates = torch.sigmoid(convolved(state, *gates_of))
                update, reset = (
                    functional.hardtanh(1.2 * gates - 0.1, 0.0, 1.0) if self.is_cut else gates
                ).chunk(2, 2)
                candidate = dropout(torch.tanh(convolved(reset * state, *candidate_of)))
                state = torch.lerp(candidate, state, torch.where(is_running, update, 1.0))
        return functional.linear(state[:, :, : self.maps], self.output.weight, self.output.bias)

    def convolutions(self) -> list[list[tuple[Convolution, Convolution]]]:
        """Return the convolutions of gates and candidate, per set and CGRU."""
        is_passed = self.n_passed >= self.longest
        kernels, biases = (
            torch.where(is_passed, part.mean(0, keepdim=True), part)
            for part in (self.kernels, self.biases)
        )
        return [
            [
                (
                    banded(kernel[:, :, :, :2], bias[:2], self.width),
                    banded(kernel[:, :, :, 2:], bias[2:], self.width),
                )
                for kernel, bias in zip(*of_set, strict=True)
            ]
            for of_set in zip(kernels, biases, strict=True)
        ]


def lengths(draws: torch.Tensor, difficulty: torch.Tensor | int, longest: int) -> torch.Tensor:
    """Return the length of each example, from 1 to longest: the difficulty, or uniform for a fifth.

    Args:
        draws: Uniform in [0, 1), [examples, 2]: the first decides whether the length is uniform,
            the second gives the uniform length.
        difficulty: The length of the other examples.
        longest: The longest length.
    """
    u, v = draws.unbind(1)
    return torch.where(u < UNIFORM_SHARE, (v * longest).floor().long() + 1, difficulty)
