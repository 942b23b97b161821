"""The workload `neural-gpu`: tasks on binary sequences and a neural GPU."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from gradnoise._streams import normal
from gradnoise.parameters import Parameter
from gradnoise.workloads.base import CROSS_ENTROPY, Batch, Forward, Metric, Splits, Workload
from gradnoise.workloads.options import option
from gradnoise.workloads.paper.neural_gpu.data import N_TRAIN, data
from gradnoise.workloads.paper.neural_gpu.model import GatedConvolutions


@dataclass(frozen=True, kw_only=True)
class NeuralGpuOptions:
    """The options of the network, its task and its curriculum."""

    task: Literal["addition", "multiplication", "copy", "reverse"] = option(
        "addition",
        "The task: the sum or the product of two binary numbers, or a copy or the reverse of a "
        "binary sequence.",
    )
    longest: int = option(
        8, "Bits of the longest operand or sequence in training.", minimum=1, maximum=64
    )
    test_bits: int = option(
        0,
        "Bits of an operand or a sequence in the test data; 0: as many as `longest`.",
        minimum=0,
        maximum=400,
    )
    width: int = option(4, "Width of the state.", minimum=1, maximum=16)
    maps: int = option(24, "Maps of the state.", minimum=1, maximum=512)
    relaxation: int = option(
        1,
        "Number of parameter sets, which the steps use in turn (relaxation); 1: all steps share a "
        "set.",
        minimum=1,
        maximum=20,
    )
    cut: bool = option(
        True, "Whether gates are cut off so that they reach 0 and 1; else they are sigmoids."
    )
    curriculum: bool = option(
        True,
        "Whether training starts with a single bit and increases the length as sequences become "
        "right; else all training is at the longest.",
    )
    batch_size: int = option(32, "Examples per update.", minimum=1, maximum=N_TRAIN)


class NeuralGpu(Workload):
    """A neural GPU trained on the mean cross-entropy of the output's symbols.

    A step consists of two gated convolutions; there are as many steps as the sequence has symbols.

    From Kaiser & Sutskever 2016, arXiv:1511.08228: the network, the symbols, low bits first, 10,000
    examples of each length, the curriculum (the next length once 90 % of sequences are right, a
    fifth at a uniform length), relaxation (six sets of parameters in turn, with a growing penalty
    on their differences, averaged at full length), small dropout, Adam with gradients clipped at
    norm 1.

    Our choices: operands and results have leading zeros, so that each length has a single form; the
    share of right sequences is a moving average with weight 0.1 for each update, from 0 at each new
    length; a fifth of the examples, not of the batches, have a length uniform up to the longest;
    the penalty is lambda sum_i |p_i - mean p|^2 over the sets, with lambda = 0.0005 times
    `pull_factor` for each length passed; once the longest is passed, every step uses the mean, in
    training and in evaluation; kernels, embedding and output from N(0, init_scale^2 / n_inputs),
    biases of gates 1, others 0; dropout on the candidates, tanh(...), with the same mask at all
    steps of an update. Every update costs as much as an update of the longest sequences: the state
    of a shorter sequence stays unchanged after its last step, and is 0 beyond its end. The splits
    are fixed: 10,000 training examples, each in every length, of which an update uses one length;
    200 of the longest for validation; 200 of `test_bits` for testing.
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
            best=0.0,
            description="Share of sequences with a wrong symbol, from 0 to 1.",
        ),
        Metric(
            name="symbol_error",
            direction="minimize",
            worst=1.0,
            best=0.0,
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
                "Factor by which the penalty of the relaxation grows with each length; 1.2 by "
                "default."
            ),
            low=1,
        ),
        Parameter(
            name="curriculum_threshold",
            description=(
                "Share of right sequences above which the curriculum continues with the next "
                "length; 0.9 by default."
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
        options = self.options
        return data(options.task, options.longest, options.test_bits or options.longest)

    def model(self) -> torch.nn.Module:
        options = self.options
        return GatedConvolutions(
            longest=options.longest,
            width=options.width,
            maps=options.maps,
            sets=options.relaxation,
            is_cut=options.cut,
            n_passed=0 if options.curriculum else options.longest - 1,
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
