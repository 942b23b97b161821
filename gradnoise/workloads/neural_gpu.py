"""The neural GPU of Kaiser & Sutskever 2016 (arXiv:1511.08228), a convolutional gated recurrent
network; Neelakantan et al. 2015, 4.5.
"""

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch.nn import functional

from gradnoise.keys import key
from gradnoise.parameters import Parameter
from gradnoise.streams import normal
from gradnoise.techniques.dropout_layers import Dropout
from gradnoise.workloads.base import CROSS_ENTROPY, Batch, Forward, Metric, Splits, Workload
from gradnoise.workloads.options import option

N_TRAIN = 10_000
N_HELD_OUT = 200
DATA_SEED = 1511
OPERATOR, PAD = 2, 3
N_INPUT_SYMBOLS, N_OUTPUT_SYMBOLS = 3, 4
N_CGRUS = 2
UNIFORM_SHARE = 0.2
RIGHT_DECAY = 0.9
PULL = 5e-4


@dataclass(frozen=True, kw_only=True)
class NeuralGpuOptions:
    """What fixes the network, its task and how far it is trained."""

    task: Literal["addition", "multiplication", "copy", "reverse"] = option(
        "addition",
        "What is computed: the sum or the product of two binary numbers, or a binary sequence as "
        "it is or reversed.",
    )
    longest: int = option(
        8, "Bits of an operand, or of a sequence, up to which it is trained.", minimum=1, maximum=64
    )
    test_bits: int = option(
        0,
        "Bits of an operand, or of a sequence, that it is tested on; 0: as many as `longest`.",
        minimum=0,
        maximum=400,
    )
    width: int = option(4, "Width of the state.", minimum=1, maximum=16)
    maps: int = option(24, "Maps of the state.", minimum=1, maximum=512)
    relaxation: int = option(
        1,
        "Sets of parameters that the steps take in turn, pulled together; 1: all steps share one "
        "set.",
        minimum=1,
        maximum=20,
    )
    cut: bool = option(
        True, "Whether gates are cut so that they reach 0 and 1; else they are sigmoids."
    )
    curriculum: bool = option(
        True,
        "Whether training begins with one bit and goes on as sequences are right; else at the "
        "longest at once.",
    )
    batch_size: int = option(32, "Examples in one update.", minimum=1, maximum=N_TRAIN)


class NeuralGpu(Workload):
    """Two gated convolutions a step, as many steps as the sequence has symbols, trained on the mean
    cross-entropy of the output's symbols.

    From Kaiser & Sutskever: the network, the symbols, low bits first, 10,000 examples of each
    length, the curriculum (the next length once 90 % of sequences are right, a fifth at a uniform
    length), relaxation by six sets of parameters in turn, pulled together by a growing penalty and
    averaged at full length, small dropout; Adam with gradients clipped at norm 1. We chose:
    operands and results have leading zeros, so that each length has one form; a share of right
    sequences is an average that an update moves by a tenth, from 0 at each new length; a fifth of
    the examples, not of the batches, are of a length uniform up to the longest; the penalty is
    lambda sum_i |p_i - mean p|^2 over the sets, with lambda = 0.0005 times `pull_factor` for each
    length passed; once the longest is passed, every step takes the mean, in training and in
    evaluation; kernels, embedding and output of N(0, init_scale^2 / n_inputs), biases of gates 1,
    others 0; dropout on the candidates, tanh(...), by one mask for all steps of an update. An
    update costs as much as one of the longest sequences throughout: a shorter one stands still
    after its own steps, and nothing is beyond its end. Splits are fixed; 10,000 examples to train
    on, each in every length, an update using one; 200 of the longest to validate, and 200 of
    `test_bits` to test.
    """

    name = "neural-gpu"
    description = (
        "A neural GPU, a convolutional gated recurrent network that learns to add, multiply, copy "
        "or reverse binary sequences."
    )
    metrics = (
        Metric(
            name="error",
            direction="minimize",
            worst=1.0,
            description="Share of sequences with a wrong symbol, from 0 to 1.",
        ),
        Metric(
            name="symbol_error",
            direction="minimize",
            worst=1.0,
            description="Share of the output's symbols that are wrong, from 0 to 1.",
        ),
        CROSS_ENTROPY,
    )
    parameters = (
        Parameter(
            name="init_scale",
            description="Factor of the initial weights; 1 by default.",
            low=0,
            low_open=True,
        ),
        Parameter(
            name="pull_factor",
            description=(
                "What the pull between the relaxation's sets grows by with each length; 1.2 by "
                "default."
            ),
            low=1,
        ),
        Parameter(
            name="curriculum_threshold",
            description=(
                "Share of right sequences above which the curriculum goes on to the next length; "
                "0.9 by default."
            ),
            low=0,
            high=0.9999,
        ),
        Parameter(
            name="dropout",
            description="Share of the candidates' activations that is dropped; 0 by default.",
            low=0,
            high=0.9999,
        ),
    )
    Options: ClassVar[type] = NeuralGpuOptions
    options: NeuralGpuOptions

    @property
    def batch_size(self) -> int:
        return self.options.batch_size

    def data(self) -> Splits:
        return _data(
            self.options.task, self.options.longest, self.options.test_bits or self.options.longest
        )

    def model(self) -> torch.nn.Module:
        own = self.options
        return GatedConvolutions(
            longest=own.longest,
            width=own.width,
            maps=own.maps,
            sets=own.relaxation,
            is_cut=own.cut,
            n_passed=0 if own.curriculum else own.longest - 1,
            threshold=self._number("curriculum_threshold", 0.9),
            pull_factor=self._number("pull_factor", 1.2),
            dropout=self._number("dropout", 0.0),
        )

    @torch.no_grad()
    def initialise(self, model: torch.nn.Module, seed: int) -> None:
        assert isinstance(model, GatedConvolutions)
        n_inputs = {"embedding": 1, "kernels": 9 * model.maps, "output.weight": model.maps}
        scale = self._number("init_scale", 1.0)
        for name, parameter in model.named_parameters():
            if name in n_inputs:
                parameter.copy_(
                    normal(seed, "init", 0, name, parameter.shape)
                    * (scale / math.sqrt(n_inputs[name]))
                )
            else:
                parameter.zero_()
        model.biases[:, :, :2] = 1

    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        return forward(*batch).mean()

    def measure(self, forward: Forward, batch: Batch) -> Mapping[str, torch.Tensor]:
        error, symbol_error, loss = forward(*batch).mean(1)
        return {"error": error, "symbol_error": symbol_error, "loss": loss}

    def _number(self, name: str, default: float) -> float:
        return float(self.params.get(name, default))  # type: ignore[arg-type]  # checked numbers


class GatedConvolutions(torch.nn.Module):
    """Turns a sequence of n symbols into another in n steps on a state s of n x width cells with
    `maps` numbers each.

    s starts with the input's embedding in the first column, and 0. A step is two gated
    convolutions, each

        u = g(U * s + a),  r = g(R * s + b),  s <- u . s + (1 - u) . tanh(C * (r . s) + c),  g(x) =
        max(0, min(1, 1.2 sigmoid(x) - 0.1)),

    with 3 x 3 kernels. The first column, through a linear layer and a softmax, is the output.

    Args:
        longest: Bits up to which it is trained.
        width: Columns of the state.
        maps: Numbers in a cell.
        sets: Sets of kernels and biases that the steps take in turn; their mean in all steps, once
            the longest is passed.
        is_cut: Whether g is as above; else it is the sigmoid.
        n_passed: Lengths that count as passed before the first update; training is at the next one.
        threshold: Share of right sequences above which a length is passed.
        pull_factor: What the pull between the sets grows by with each length; at least 1.
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
        """Return what is minimised, [examples]; without draws [3, examples]: error, symbol error
        and cross-entropy.

        Args:
            inputs: Symbols, [examples, symbols]; with draws each example in every length,
                [examples, lengths, symbols].
            targets: Likewise.
            draws: What chooses the length: see `lengths`, [examples, 2].
        """
        if draws is None:
            return torch.stack(self.judge(inputs, targets))
        difficulty = (self.n_passed + 1).clamp(max=self.longest)
        chosen = lengths(draws, difficulty, self.longest)
        own = (chosen - 1)[:, None, None]
        error, _, cost = self.judge(
            *(torch.take_along_dim(part, own, 1)[:, 0] for part in (inputs, targets))
        )
        if self.sets > 1:
            pull = PULL * torch.pow(self.pull_factor, self.n_passed)
            cost = cost + pull * sum(
                (part - part.mean(0)).square().sum() for part in (self.kernels, self.biases)
            )
        if self.training:
            self.count(error, chosen == difficulty)
        return cost

    def count(self, error: torch.Tensor, is_due: torch.Tensor) -> None:
        """Take the share of right sequences among those of the length that is due into its average,
        and go on where that suffices.
        """
        n = is_due.sum()
        share = 1 - (error * is_due).sum() / n.clamp(min=1)
        right = torch.where(n > 0, RIGHT_DECAY * self.right + (1 - RIGHT_DECAY) * share, self.right)
        is_passed = right > self.threshold
        self.n_passed.add_(is_passed & (self.n_passed < self.longest))
        self.right.copy_(torch.where(is_passed, 0.0, right))

    def judge(
        self, inputs: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return for each example whether a symbol is wrong, the share of them that is, and their
        mean cross-entropy, in nats.
        """
        logits, counts = self.run(inputs), inputs != PAD
        n = counts.sum(1)
        is_wrong = (logits.argmax(2) != targets) & counts
        costs = functional.cross_entropy(logits.transpose(1, 2), targets.long(), reduction="none")
        return is_wrong.any(1).to(logits.dtype), is_wrong.sum(1) / n, (costs * counts).sum(1) / n

    def run(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the logarithmic odds of the output's symbols, [examples, symbols, 4], from the
        input's, [examples, symbols].
        """
        one_hot = (inputs[:, :, None] == torch.arange(N_INPUT_SYMBOLS, device=inputs.device)).to(
            self.embedding.dtype
        )
        state = functional.pad(one_hot @ self.embedding, (0, (self.width - 1) * self.maps))
        is_there = inputs != PAD
        n_steps = is_there.sum(1, keepdim=True)
        matrices = self.matrices()
        for step in range(inputs.shape[1]):
            moves = (is_there & (step < n_steps))[:, :, None]
            for (of_gates, of_candidate), dropout in zip(
                matrices[step % self.sets], self.dropouts, strict=True
            ):
                gates = torch.sigmoid(convolved(state, *of_gates))
                update, reset = (
                    functional.hardtanh(1.2 * gates - 0.1, 0.0, 1.0) if self.is_cut else gates
                ).chunk(2, 2)
                candidate = dropout(torch.tanh(convolved(reset * state, *of_candidate)))
                state = torch.lerp(candidate, state, torch.where(moves, update, 1.0))
        return functional.linear(state[:, :, : self.maps], self.output.weight, self.output.bias)

    def matrices(
        self,
    ) -> list[list[tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]]]:
        """Return, for each set and each of its two, the convolutions of the gates and of the
        candidate: see `banded`.
        """
        is_whole = self.n_passed >= self.longest
        kernels, biases = (
            torch.where(is_whole, part.mean(0, keepdim=True), part)
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


def banded(
    kernel: torch.Tensor, bias: torch.Tensor, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return convolutions as a matrix, [3 rows, parts x row], that is 0 between columns that do not
    touch, and a bias, [parts x row].

    Args:
        kernel: 3 x 3 x maps x parts x maps.
        bias: parts x maps.
        width: Columns of the state; a row of it holds width x maps numbers.
    """
    columns = torch.arange(width, device=kernel.device)
    touches = columns[:, None, None] == columns + torch.arange(-1, 2, device=kernel.device)[:, None]
    matrix = torch.einsum("ajo,ijmpk->iampok", touches.to(kernel.dtype), kernel)
    return matrix.flatten(3, 5).flatten(0, 2), bias[:, None].expand(-1, width, -1).flatten()


def convolved(state: torch.Tensor, matrix: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return a convolution of the state, [examples, n, row], as one matrix product over the windows
    of three rows, 0 beyond its ends.

    Measured on one core, an update of a state of 17 x 4 x 24 with 32 examples took 9.9 ms a step
    so, 9.8 by `conv2d`, and 18 and 22 over windows of 3 x 3, cut by hand and by `unfold`; of eight
    stacked models each took 9.5 ms, by `conv2d` 11.2, over windows 20 and 25.
    """
    n = state.shape[1]
    padded = functional.pad(state, (0, 0, 1, 1))
    return torch.cat([padded[:, i : i + n] for i in range(3)], 2) @ matrix + bias


def lengths(draws: torch.Tensor, difficulty: torch.Tensor | int, longest: int) -> torch.Tensor:
    """Return the length of each example, from 1 to longest: the difficulty, or uniform for a fifth
    of them.

    Args:
        draws: Uniform in [0, 1), [examples, 2]: the first says whether the length is uniform, the
            second draws it.
        difficulty: The length of the others.
        longest: The greatest length.
    """
    u, v = draws.unbind(1)
    return torch.where(u < UNIFORM_SHARE, (v * longest).floor().long() + 1, difficulty)


def n_symbols(task: str, n_bits: int) -> int:
    """Return how long a sequence is."""
    return n_bits if task in ("copy", "reverse") else 2 * n_bits + 1


def example(task: str, n_bits: int, draw: np.random.Generator) -> tuple[list[int], list[int]]:
    """Return an input and what is wanted, symbols of equal number: 0, 1, the operator 2, and after
    the result's bits the pad 3.

    | task | input | wanted |
    |---|---|---|
    | addition | a, operator, b, of d bits each, the lowest first | the d + 1 bits of a + b |
    | multiplication | likewise | the 2 d bits of a b |
    | copy, reverse | d bits | the same, as they are or reversed |
    """
    bits = draw.integers(2, size=(2, n_bits)).tolist()
    if task in ("copy", "reverse"):
        return bits[0], bits[0] if task == "copy" else bits[0][::-1]
    a, b = (int("".join(map(str, reversed(own))), 2) for own in bits)
    result, n_result = (a + b, n_bits + 1) if task == "addition" else (a * b, 2 * n_bits)
    wanted = [result >> i & 1 for i in range(n_result)]
    return [*bits[0], OPERATOR, *bits[1]], wanted + [PAD] * (n_symbols(task, n_bits) - n_result)


@functools.lru_cache(maxsize=4)
def _data(task: str, longest: int, test_bits: int) -> Splits:
    def split(
        name: str, n: int, each: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        draw = np.random.Generator(np.random.Philox(key=key(DATA_SEED, name, task)))
        symbols = np.full((2, n, len(each), n_symbols(task, each[-1])), PAD, dtype=np.int8)
        for i, (j, n_bits) in itertools.product(range(n), enumerate(each)):
            symbols[:, i, j, : n_symbols(task, n_bits)] = example(task, n_bits, draw)
        inputs, targets = torch.from_numpy(symbols)
        return inputs, targets, torch.from_numpy(draw.random((n, 2)))

    validation, test = (
        tuple(part[:, 0] for part in split(name, N_HELD_OUT, [n])[:2])
        for name, n in (("validation", longest), ("test", test_bits))
    )
    return Splits(
        train=split("train", N_TRAIN, range(1, longest + 1)), validation=validation, test=test
    )
