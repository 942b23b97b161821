"""The workload `nram`: tasks on pointers, arrays and lists, and a neural random-access machine."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from gradnoise._streams import normal
from gradnoise.rules import Rule, When
from gradnoise.techniques.contribution import Place
from gradnoise.workloads.base import Batch, Forward, Metric, Splits, Workload
from gradnoise.workloads.options import option
from gradnoise.workloads.paper.nram.data import CELLS, N_TRAIN, data
from gradnoise.workloads.paper.nram.model import Machine


@dataclass(frozen=True, kw_only=True)
class NramOptions:
    """The options of the machine, its task and its curriculum."""

    task: Literal["access", "increment", "copy", "reverse", "listk"] = option(
        "increment",
        "The task: access, the k-th number of an array; increment, all numbers plus 1; copy; "
        "reverse; listk, the k-th number of a linked list.",
    )
    longest: int = option(4, "Length of the longest array or list.", minimum=1, maximum=30)
    size: int = option(8, "Number of memory cells and of integers.", minimum=4, maximum=64)
    registers: int = option(3, "Number of registers.", minimum=1, maximum=32)
    steps: int = option(
        4,
        "Largest number of time steps; each step reads a single cell.",
        minimum=1,
        maximum=100,
    )
    controller: Literal["mlp", "lstm"] = option(
        "mlp", "The controller: a hidden layer of ReLUs, or an LSTM, which has a memory of steps."
    )
    hidden: int = option(
        32, "Units of the controller's hidden layer or LSTM.", minimum=1, maximum=1_000
    )
    entropy: float = option(
        1.0,
        "Weight of the entropy bonus in the first update, in nats per nat.",
        minimum=0,
        maximum=100,
    )
    entropy_updates: int = option(200, "Updates in which that weight halves.", minimum=1)
    length_updates: int = option(
        0,
        "Updates per length of the curriculum; 0: no curriculum, the longest from the start.",
        minimum=0,
    )
    batch_size: int = option(25, "Examples per update.", minimum=1, maximum=N_TRAIN)

    rules: ClassVar[tuple[Rule, ...]] = tuple(
        Rule(
            kind="at_least",
            field="size",
            of="longest",
            times=per_number,
            bound=more,
            when=(When(field="task", values=(task,)),),
            meaning="the cells of the longest example",
        )
        for task, (per_number, more) in CELLS.items()
    )


class Nram(Workload):
    """A machine with registers, a memory and 14 modules, trained on the expected cost.

    A controller connects registers and modules at each time step.

    From Kurach et al. 2016, arXiv:1511.06392: the machine, its cost, log(max(x, epsilon)), the
    decaying entropy bonus, the tasks, a feed-forward or an LSTM controller, and the mix of lengths
    in a batch at difficulty D: 10 % uniform from 1 to the longest, 25 % uniform from 1 to D + e,
    the others D + e, with e geometric of rate 1/2, counted from 0, and no length above the longest.

    Our choices: a single hidden layer of ReLUs; weights from N(0, 2 / n_inputs), biases and all
    registers that start at 0; epsilon = 1e-6; the bonus is the mean entropy of the controller's
    choices over choices and steps, halved every `entropy_updates`; D increases by 1 every
    `length_updates` (theirs increases at a low error); all examples have the same number of steps.
    They clipped the gradients of activations coordinate by coordinate: here `clip_value` and
    `clip_norm` clip the gradients of the weights. The splits are fixed: 5,000 training examples,
    each in every length, of which an update uses one length; 100 of every length for validation and
    100 for testing.

    The LSTM did not learn better here. Over 8 seeds with Adam at 0.01, the median error on copy up
    to length 3 after 600 updates was 0.53 with the LSTM and 0.31 with ReLUs. On listk up to length
    3 after 800 updates it was 0.73 with both, and no seed solved it.
    """

    name = "nram"
    description = (
        "A neural random-access machine that learns programs on pointers, arrays and linked lists."
    )
    metrics = (
        Metric(
            name="error",
            direction="minimize",
            worst=1.0,
            best=0.0,
            description=(
                "Share of the target cells that are wrong in the discretised circuit, from 0 to 1."
            ),
        ),
        Metric(
            name="soft_error",
            direction="minimize",
            worst=1.0,
            best=0.0,
            description=(
                "Share of the target cells whose likeliest number is wrong in the machine as "
                "trained, from 0 to 1."
            ),
        ),
        # 30 cells at -log(epsilon) are 414 nats
        Metric(
            name="loss",
            direction="minimize",
            worst=1000.0,
            description="Expected cost, in nats; a diverged run counts as 1000.",
        ),
    )
    Options: ClassVar[type] = NramOptions
    places: ClassVar[tuple[Place, ...]] = ("gradient", "weights")
    options: NramOptions

    @property
    def batch_size(self) -> int:
        return self.options.batch_size

    def data(self) -> Splits:
        return data(self.options.task, self.options.longest, self.options.size)

    def model(self) -> torch.nn.Module:
        options = self.options
        return Machine(
            size=options.size,
            n_registers=options.registers,
            n_steps=options.steps,
            n_hidden=options.hidden,
            is_recurrent=options.controller == "lstm",
            entropy=options.entropy,
            entropy_updates=options.entropy_updates,
            length_updates=options.length_updates,
        )

    @torch.no_grad()
    def initialise(self, model: torch.nn.Module, seed: int) -> None:
        for name, parameter in model.named_parameters():
            n_inputs = parameter.shape[-1]
            std = math.sqrt(2 / n_inputs) if parameter.dim() == 2 else 0.0
            parameter.copy_(normal(seed, "init", 0, name, parameter.shape) * std)

    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        return forward(*batch).mean()

    def measure(self, forward: Forward, batch: Batch) -> Mapping[str, torch.Tensor]:
        error, soft_error, loss = forward(*batch).mean(1)
        return {"error": error, "soft_error": soft_error, "loss": loss}
