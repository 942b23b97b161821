"""The neural random-access machine of Kurach et al. 2016 (arXiv:1511.06392); section 4.4 of
Neelakantan et al. 2015.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch.nn import functional

from gradnoise.keys import key
from gradnoise.streams import normal
from gradnoise.techniques.contribution import Place
from gradnoise.workloads.base import Batch, Forward, Metric, Splits, Workload
from gradnoise.workloads.options import option

N_TRAIN = 5_000
N_HELD_OUT = 100
DATA_SEED = 1511
EPSILON = 1e-6
UNIFORM_SHARE, BELOW_SHARE = 0.1, 0.25
ANY = -1


@dataclass(frozen=True, kw_only=True)
class NramOptions:
    """What fixes the machine, its task and its curriculum."""

    task: Literal["access", "increment", "copy", "reverse", "listk"] = option(
        "increment",
        "What is computed: access, the k-th number of an array; increment, all of them plus one; "
        "copy; reverse; listk, the k-th of a list.",
    )
    longest: int = option(4, "Numbers in the longest array or list.", minimum=1, maximum=30)
    size: int = option(
        8, "Cells of the memory, and how many numbers there are.", minimum=4, maximum=64
    )
    registers: int = option(3, "Registers.", minimum=1, maximum=32)
    steps: int = option(
        4,
        "Time steps after which the machine stops at the latest; each reads one cell.",
        minimum=1,
        maximum=100,
    )
    controller: Literal["mlp", "lstm"] = option(
        "mlp", "What chooses: one hidden layer of ReLUs, or an LSTM, which remembers earlier steps."
    )
    hidden: int = option(
        32, "Units of the controller's hidden layer, or of its LSTM.", minimum=1, maximum=1_000
    )
    entropy: float = option(
        1.0,
        "Weight of the entropy bonus in the first update, in nats a nat.",
        minimum=0,
        maximum=100,
    )
    entropy_updates: int = option(200, "Updates in which that weight falls to a half.", minimum=1)
    length_updates: int = option(
        0,
        "Updates after which the curriculum goes on to the next length; 0: at the longest at once.",
        minimum=0,
    )
    batch_size: int = option(25, "Examples in one update.", minimum=1, maximum=N_TRAIN)

    def __post_init__(self) -> None:
        needed = cells_needed(self.task, self.longest)
        if self.size < needed:
            raise ValueError(
                f"size must be at least {needed} for {self.task} up to length {self.longest}, but "
                f"got size={self.size}."
            )


class Nram(Workload):
    """Registers, a memory and 14 modules, wired anew in each time step by a controller, trained on
    the expected cost.

    From Kurach et al.: the machine, its cost, log(max(x, epsilon)), the decaying entropy bonus, the
    tasks, and the mix of lengths in a batch at difficulty D: 10 % uniform from 1 to the longest, 25
    % uniform from 1 to D + e, the others D + e, with e geometric of rate 1/2, counted from 0, and
    no length above the longest; a feed-forward or an LSTM controller. We chose: one hidden layer of
    ReLUs; weights of N(0, 2 / n_inputs), biases and all registers that start at 0; epsilon = 1e-6;
    the bonus is the mean entropy of the controller's choices over choices and steps, halved every
    `entropy_updates`; D goes up by one every `length_updates`, where they waited for a low error;
    all examples have as many steps. They clipped the gradients of activations by coordinate: here
    `clip_value` and `clip_norm` clip those of the weights. Splits are fixed: 5,000 examples to
    train on, each in every length, an update using one; 100 of every length to validate and as many
    to test.

    The LSTM learned no better here: over 8 seeds each, of Adam at 0.01, the median error after 600
        updates on copy up to length 3 was 0.53,
    and 0.31 with ReLUs; on listk up to length 3 it was 0.73 with either after 800, and no seed
    solved it.
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
            description="Share of the wanted cells that the discretised circuit gets wrong, from 0 to 1.",
        ),
        Metric(
            name="soft_error",
            direction="minimize",
            worst=1.0,
            description=(
                "Share of the wanted cells whose likeliest number is wrong in the machine as it "
                "is trained, from 0 to 1."
            ),
        ),
        # 30 cells at -log(epsilon) are 414 nats.
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
        return _data(self.options.task, self.options.longest, self.options.size)

    def model(self) -> torch.nn.Module:
        own = self.options
        return Machine(
            size=own.size,
            n_registers=own.registers,
            n_steps=own.steps,
            n_hidden=own.hidden,
            is_recurrent=own.controller == "lstm",
            entropy=own.entropy,
            entropy_updates=own.entropy_updates,
            length_updates=own.length_updates,
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


class Machine(torch.nn.Module):
    """Runs for `n_steps` on a memory of M = size cells; each cell, register and output of a module
    is a distribution over 0 ... M - 1.

    In a step, h = relu(A z + a) with z_i = P(register i is 0); every argument of a module is a
    mixture, by a softmax of the controller, of the registers and the outputs of earlier modules;
    after the last module every register becomes such a mixture of them all. With the willingness
    f_t = sigmoid(b^T h + c), and f = 1 in the last step, p_t = f_t prod_{i<t} (1 - f_i) is the
    chance to stop after step t, and cost = - sum_t p_t sum_i log max(P(cell i after step t is as
    wanted), epsilon).

    Of an LSTM, [i; f; g; o] = A [z; h'] + a, s = sigmoid(f) s' + sigmoid(i) tanh(g) and h =
    sigmoid(o) tanh(s), after h' and s' of the step before, 0 at the beginning.

    The discretised circuit takes the likeliest choice for each mixture and stops where f_t > 1/2:
    it computes with whole numbers.

    Args:
        size: Cells, at least 4.
        n_registers, n_steps, n_hidden: Registers, time steps, units of the controller's hidden
            layer.
        is_recurrent: Whether that layer is an LSTM.
        entropy: Weight of the entropy bonus in the first update in training.
        entropy_updates: Updates in which that weight falls to a half.
        length_updates: Updates for each difficulty D = 1, 2, ... of the curriculum in training; 0:
            D is the longest.
    """

    updates: torch.Tensor

    def __init__(
        self,
        *,
        size: int,
        n_registers: int,
        n_steps: int,
        n_hidden: int,
        is_recurrent: bool = False,
        entropy: float = 0.0,
        entropy_updates: int = 1,
        length_updates: int = 0,
    ) -> None:
        super().__init__()
        self.size, self.n_registers, self.n_steps, self.is_recurrent = (
            size,
            n_registers,
            n_steps,
            is_recurrent,
        )
        self.entropy, self.entropy_updates, self.length_updates = (
            entropy,
            entropy_updates,
            length_updates,
        )
        self.n_options = [
            n_registers + i for i, name in enumerate(MODULES) for _ in range(N_ARGUMENTS[name])
        ]
        self.n_options += [n_registers + len(MODULES)] * n_registers
        self.hidden = (
            torch.nn.Linear(n_registers + n_hidden, 4 * n_hidden)
            if is_recurrent
            else torch.nn.Linear(n_registers, n_hidden)
        )
        self.choices = torch.nn.Linear(n_hidden, sum(self.n_options))
        self.finish = torch.nn.Linear(n_hidden, 1)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def forward(
        self, memory: torch.Tensor, wanted: torch.Tensor, draws: torch.Tensor
    ) -> torch.Tensor:
        """Return what is minimised, [examples], in training; else [3, examples x lengths]: error,
        soft error and cost.

        Args:
            memory: Each example in every length, whole numbers, [examples, lengths, M].
            wanted: Likewise, with -1 where any number will do.
            draws: What chooses the length in training: see `lengths`, [examples, 3].
        """
        if self.training:
            longest = memory.shape[1]
            difficulty = (
                (1 + self.updates // self.length_updates).clamp(max=longest)
                if self.length_updates
                else longest
            )
            chosen = (lengths(draws, difficulty, longest) - 1)[:, None, None]
            memory, wanted = (
                torch.take_along_dim(part, chosen, 1)[:, 0] for part in (memory, wanted)
            )
            _, cost, entropy = self.run(memory, wanted)
            weight = self.entropy * torch.exp2(-self.updates / self.entropy_updates)
            self.updates.add_(1)
            return cost - weight * entropy
        memory, wanted = memory.flatten(0, 1), wanted.flatten(0, 1)
        counts = wanted != ANY
        hard, _, _ = self.run(memory, wanted, is_discrete=True)
        soft, cost, _ = self.run(memory, wanted)
        errors = [
            ((cells.argmax(2) != wanted) & counts).sum(1) / counts.sum(1) for cells in (hard, soft)
        ]
        return torch.stack([*errors, cost])

    def run(
        self, memory: torch.Tensor, wanted: torch.Tensor, *, is_discrete: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the memory after stopping, [examples, M, M], the cost and the mean entropy of a
        choice, [examples] each, both in nats.
        """
        n, n_most = len(memory), max(self.n_options)
        weight = torch.cat(
            [
                functional.pad(own, (0, 0, 0, n_most - len(own)))
                for own in torch.split(self.choices.weight, self.n_options)
            ]
        )
        bias = torch.cat(
            [
                functional.pad(own, (0, n_most - len(own)), value=-torch.inf)
                for own in torch.split(self.choices.bias, self.n_options)
            ]
        )
        cells = is_number(memory, self.size).to(weight.dtype)
        target, counts = is_number(wanted, self.size), wanted != ANY
        registers = (
            is_number(torch.zeros_like(memory[:, :1]), self.size)
            .to(weight.dtype)
            .expand(n, self.n_registers, self.size)
        )
        going = torch.ones_like(cells[:, 0, 0])
        stopped, cost, entropy = (
            torch.zeros_like(cells),
            torch.zeros_like(going),
            torch.zeros_like(going),
        )
        hidden = carried = torch.zeros_like(weight[:1, :]).expand(n, -1)
        for step in range(1, self.n_steps + 1):
            hidden, carried = self.control(registers[:, :, 0], hidden, carried)
            choices = functional.linear(hidden, weight, bias).view(n, -1, n_most).softmax(2)
            finish = self.finish(hidden)[:, 0].sigmoid()
            if is_discrete:
                choices, finish = (
                    is_number(choices.argmax(2), n_most).to(weight.dtype),
                    finish.round(),
                )
            if step == self.n_steps:
                finish = torch.ones_like(finish)
            registers, cells = self.compute(registers, cells, choices)
            now, going = going * finish, going * (1 - finish)
            right = (cells * target).sum(2).clamp(min=EPSILON).log()
            stopped = stopped + now[:, None, None] * cells
            cost = cost - now * (right * counts).sum(1)
            entropy = (
                entropy - (choices * choices.clamp(min=EPSILON).log()).sum(2).mean(1) / self.n_steps
            )
        return stopped, cost, entropy

    def control(
        self, zeros: torch.Tensor, hidden: torch.Tensor, carried: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return h and s of a step, [examples, hidden] each, after P(register i is 0), [examples,
        registers], and h and s before it.
        """
        if not self.is_recurrent:
            return torch.relu(self.hidden(zeros)), carried
        let_in, keep, new, let_out = self.hidden(torch.cat([zeros, hidden], 1)).chunk(4, 1)
        carried = keep.sigmoid() * carried + let_in.sigmoid() * new.tanh()
        return let_out.sigmoid() * carried.tanh(), carried

    def compute(
        self, registers: torch.Tensor, cells: torch.Tensor, choices: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return registers, [examples, registers, M], and memory, [examples, M, M], after one step
        with these choices.

        Args:
            choices: What each argument, then each register, is made of: registers, then outputs;
                [examples, choices, registers + 14].
        """
        values, i = registers, 0
        for name in MODULES:
            n = N_ARGUMENTS[name]
            arguments = (choices[:, i : i + n, : values.shape[1]] @ values).unbind(1)
            output, cells = module(name, cells, arguments)
            values, i = torch.cat([values, output[:, None]], 1), i + n
        return choices[:, i:] @ values, cells


def lengths(draws: torch.Tensor, difficulty: torch.Tensor | int, longest: int) -> torch.Tensor:
    """Return the length of each example, from 1 to longest, at this difficulty.

    Args:
        draws: u and v, uniform in [0, 1), and e, geometric: [examples, 3]. By u the length is
            uniform up to the longest, uniform up to D + e, or D + e; v draws what is uniform.
    """
    u, v, e = draws.unbind(1)
    top = (difficulty + e).clamp(max=longest)
    reach = torch.where(u < UNIFORM_SHARE, longest, top)
    return torch.where(u < UNIFORM_SHARE + BELOW_SHARE, (v * reach).floor() + 1, top).long()


def read(cells: torch.Tensor, pointer: torch.Tensor) -> torch.Tensor:
    """Return M^T p: what stands where the pointer points."""
    return (pointer[:, None] @ cells)[:, 0]


def write(cells: torch.Tensor, pointer: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return (1 - p) 1^T . M + p a^T: the memory with a value where the pointer points."""
    return (1 - pointer[:, :, None]) * cells + pointer[:, :, None] * value[:, None]


def add(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a.flip(1).roll(1, 1)[:, None] @ rotations(b))[:, 0]


def subtract(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (b[:, None] @ rotations(a))[:, 0]


def less(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return truth((a * above(b)).sum(1), a.shape[1])


def less_or_equal(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return truth((a * (above(b) + b)).sum(1), a.shape[1])


def equal(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return truth((a * b).sum(1), a.shape[1])


def minimum(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a * (above(b) + b) + b * above(a)


def maximum(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a * b.cumsum(1) + b * (a.cumsum(1) - a)


CONSTANTS: Mapping[str, int] = {"zero": 0, "one": 1, "two": 2}
ARITHMETIC: Mapping[str, Callable[..., torch.Tensor]] = {
    "inc": lambda a: a.roll(1, 1),
    "add": add,
    "sub": subtract,
    "dec": lambda a: a.roll(-1, 1),
    "less": less,
    "less_or_equal": less_or_equal,
    "equal": equal,
    "min": minimum,
    "max": maximum,
}
MODULES = ("read", *CONSTANTS, *ARITHMETIC, "write")
"""In their order: a module can take the outputs of those before it."""

N_ARGUMENTS: Mapping[str, int] = {
    name: 0 if name in CONSTANTS else 1 if name in ("read", "inc", "dec") else 2 for name in MODULES
}


def module(
    name: str, cells: torch.Tensor, arguments: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a module's output, [examples, M], and the memory after it; arithmetic is modulo M, and
    `write` gives 0.
    """
    if name == "read":
        return read(cells, *arguments), cells
    if name in ARITHMETIC:
        return ARITHMETIC[name](*arguments), cells
    if name == "write":
        cells = write(cells, *arguments)
    n, size = cells.shape[:2]
    constant = torch.arange(size, device=cells.device) == CONSTANTS.get(name, 0)
    return constant.to(cells.dtype).expand(n, size), cells


def is_number(numbers: torch.Tensor, size: int) -> torch.Tensor:
    """Return whole numbers one-hot, as booleans, [..., size]; all False where a number is none of 0
    ... size - 1.
    """
    return numbers[..., None] == torch.arange(size, device=numbers.device)


def above(a: torch.Tensor) -> torch.Tensor:
    """Return P(a > i) for each i."""
    return a.flip(1).cumsum(1).flip(1) - a


def truth(p: torch.Tensor, size: int) -> torch.Tensor:
    """Return the distribution of a number that is 1 with chance p, and else 0."""
    return functional.pad(torch.stack([1 - p, p], 1), (0, size - 2))


def rotations(a: torch.Tensor) -> torch.Tensor:
    """Return [examples, s, k], a at (s + k) modulo M."""
    n, size = a.shape
    return a[:, None].expand(n, size + 1, size).reshape(n, size, size + 1)[:, :, :size]


def cells_needed(task: str, length: int) -> int:
    """Return the smallest memory that holds an example of this length."""
    return {
        "access": length + 2,
        "increment": length + 1,
        "copy": 2 * length + 1,
        "reverse": 2 * length + 1,
        "listk": 2 * length + 4,
    }[task]


def example(
    task: str, length: int, size: int, draw: np.random.Generator
) -> tuple[list[int], list[int]]:
    """Return a memory of `size` cells and what is wanted in it, -1 where any number will do.

    | task | memory | wanted |
    |---|---|---|
    | access | k, A[0], ..., A[n-1], 0 | A[k] in cell 0 |
    | increment | A[0], ..., A[n-1], 0 | A[0] + 1, ..., A[n-1] + 1 |
    | copy | n + 1, A[0], ..., A[n-1] | A[0], ..., A[n-1] from cell n + 1 on |
    | reverse | n + 1, A[0], ..., A[n-1] | A[n-1], ..., A[0] from cell n + 1 on |
    | listk | head, k, out, and n nodes at random odd places | the value of node k, counted from 0, in cell out |

    A node is two cells, the place of the next one, 0 at the end, and its value. Values are not 0,
    and one more is not 0 either.
    """
    memory, wanted = [0] * size, [ANY] * size
    values = draw.integers(1, size - 1, length).tolist()
    k = int(draw.integers(length))
    if task == "access":
        memory[: length + 1] = [k, *values]
        wanted[0] = values[k]
    elif task == "increment":
        memory[:length] = values
        wanted[:length] = [value + 1 for value in values]
    elif task in ("copy", "reverse"):
        memory[: length + 1] = [length + 1, *values]
        wanted[length + 1 : 2 * length + 1] = values if task == "copy" else values[::-1]
    else:
        places = [3 + 2 * place for place in draw.permutation((size - 3) // 2)[:length].tolist()]
        free = sorted({*range(3, size)} - {*places} - {place + 1 for place in places})
        out = free[int(draw.integers(len(free)))]
        memory[:3] = [places[0], k, out]
        for place, following, value in zip(places, [*places[1:], 0], values, strict=True):
            memory[place : place + 2] = [following, value]
        wanted[out] = values[k]
    return memory, wanted


@functools.lru_cache(maxsize=4)
def _data(task: str, longest: int, size: int) -> Splits:
    def split(name: str, n: int) -> Batch:
        draw = np.random.Generator(np.random.Philox(key=key(DATA_SEED, name, task)))
        rows = [
            [example(task, length, size, draw) for length in range(1, longest + 1)]
            for _ in range(n)
        ]
        memory, wanted = torch.tensor(rows, dtype=torch.int8).unbind(2)
        draws = np.column_stack([draw.random((n, 2)), draw.geometric(0.5, n) - 1])
        return memory.contiguous(), wanted.contiguous(), torch.from_numpy(draws)

    return Splits(
        train=split("train", N_TRAIN),
        validation=split("validation", N_HELD_OUT),
        test=split("test", N_HELD_OUT),
    )
