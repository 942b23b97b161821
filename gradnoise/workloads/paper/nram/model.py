"""The neural random-access machine of Kurach et al. 2016, arXiv:1511.06392."""

import torch
from torch.nn import functional

from gradnoise.workloads.paper.nram.data import ANY
from gradnoise.workloads.paper.nram.modules import MODULES, N_ARGUMENTS, is_number, module

EPSILON = 1e-6
UNIFORM_SHARE, BELOW_SHARE = 0.1, 0.25


class Machine(torch.nn.Module):
    """A machine that runs for `n_steps` steps on a memory of M = size cells.

    Each cell, each register and each module's output is a distribution over 0, ..., M - 1.

    In a step, h = relu(A z + a) with z_i = P(register i is 0); every argument of a module is a
    mixture, by a softmax of the controller, of the registers and the outputs of earlier modules;
    after the last module every register becomes such a mixture of them all. With the willingness
    f_t = sigmoid(b^T h + c), and f = 1 in the last step, p_t = f_t prod_{i<t} (1 - f_i) is the
    probability of stopping after step t, and cost = - sum_t p_t sum_i log max(P(cell i after step t
    has its target value), epsilon).

    With an LSTM, [i; f; g; o] = A [z; h'] + a, s = sigmoid(f) s' + sigmoid(i) tanh(g) and h =
    sigmoid(o) tanh(s), with h' and s' of the previous step, 0 before the first.

    The discretised circuit replaces each mixture by its likeliest part and stops where f_t > 1/2,
    so it computes with integers.

    Args:
        size: Cells; at least 4.
        n_registers: Registers.
        n_steps: Time steps.
        n_hidden: Units of the controller's hidden layer.
        is_recurrent: Whether the hidden layer is an LSTM.
        entropy: Weight of the entropy bonus in the first update of training.
        entropy_updates: Updates in which that weight halves.
        length_updates: Updates per difficulty D = 1, 2, ... of the curriculum; 0: D is always the
            longest length.
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
        self, memory: torch.Tensor, target: torch.Tensor, draws: torch.Tensor
    ) -> torch.Tensor:
        """Return the objective in training; error, soft error and cost in evaluation.

        Args:
            memory: Each example in every length, integers, [examples, lengths, M].
            target: The memory after stopping, likewise; -1 where any number is right.
            draws: Choose the length in training, see `lengths`; [examples, 3].

        Returns:
            [examples] in training; [3, examples x lengths] in evaluation.
        """
        if self.training:
            longest = memory.shape[1]
            difficulty = (
                (1 + self.updates // self.length_updates).clamp(max=longest)
                if self.length_updates
                else longest
            )
            chosen = (lengths(draws, difficulty, longest) - 1)[:, None, None]
            memory, target = (
                torch.take_along_dim(part, chosen, 1)[:, 0] for part in (memory, target)
            )
            _, cost, entropy = self.run(memory, target)
            weight = self.entropy * torch.exp2(-self.updates / self.entropy_updates)
            self.updates.add_(1)
            return cost - weight * entropy
        memory, target = memory.flatten(0, 1), target.flatten(0, 1)
        counts = target != ANY
        hard, _, _ = self.run(memory, target, is_discrete=True)
        soft, cost, _ = self.run(memory, target)
        errors = [
            ((cells.argmax(2) != target) & counts).sum(1) / counts.sum(1) for cells in (hard, soft)
        ]
        return torch.stack([*errors, cost])

    def run(
        self, memory: torch.Tensor, target: torch.Tensor, *, is_discrete: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Run the machine on memories of integers, [examples, M].

        Returns:
            The memory after stopping, [examples, M, M]; the cost and the mean entropy of a choice,
            [examples] each, in nats.
        """
        n, n_most = len(memory), max(self.n_options)
        weight = torch.cat(
            [
                functional.pad(part, (0, 0, 0, n_most - len(part)))
                for part in torch.split(self.choices.weight, self.n_options)
            ]
        )
        bias = torch.cat(
            [
                functional.pad(part, (0, n_most - len(part)), value=-torch.inf)
                for part in torch.split(self.choices.bias, self.n_options)
            ]
        )
        cells = is_number(memory, self.size).to(weight.dtype)
        is_target, counts = is_number(target, self.size), target != ANY
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
            right = (cells * is_target).sum(2).clamp(min=EPSILON).log()
            stopped = stopped + now[:, None, None] * cells
            cost = cost - now * (right * counts).sum(1)
            entropy = (
                entropy - (choices * choices.clamp(min=EPSILON).log()).sum(2).mean(1) / self.n_steps
            )
        return stopped, cost, entropy

    def control(
        self, zeros: torch.Tensor, hidden: torch.Tensor, carried: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the controller's h and s of a step, [examples, hidden] each.

        Args:
            zeros: P(register i is 0), [examples, registers].
            hidden: h of the previous step.
            carried: s of the previous step.
        """
        if not self.is_recurrent:
            return torch.relu(self.hidden(zeros)), carried
        let_in, keep, new, let_out = self.hidden(torch.cat([zeros, hidden], 1)).chunk(4, 1)
        carried = keep.sigmoid() * carried + let_in.sigmoid() * new.tanh()
        return let_out.sigmoid() * carried.tanh(), carried

    def compute(
        self, registers: torch.Tensor, cells: torch.Tensor, choices: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return registers and memory after a step.

        Args:
            registers: [examples, registers, M].
            cells: The memory, [examples, M, M].
            choices: The mixture of registers and module outputs that makes each module argument,
                then each register; [examples, choices, registers + 14].
        """
        values, i = registers, 0
        for name in MODULES:
            n = N_ARGUMENTS[name]
            arguments = (choices[:, i : i + n, : values.shape[1]] @ values).unbind(1)
            output, cells = module(name, cells, arguments)
            values, i = torch.cat([values, output[:, None]], 1), i + n
        return choices[:, i:] @ values, cells


def lengths(draws: torch.Tensor, difficulty: torch.Tensor | int, longest: int) -> torch.Tensor:
    """Return the length of each example, from 1 to longest, at a difficulty D.

    Args:
        draws: u and v, uniform in [0, 1), and e, geometric; [examples, 3]. u decides whether the
            length is uniform up to the longest, uniform up to D + e, or D + e; v gives the uniform
            length.
        difficulty: D.
        longest: The longest length.
    """
    u, v, e = draws.unbind(1)
    top = (difficulty + e).clamp(max=longest)
    reach = torch.where(u < UNIFORM_SHARE, longest, top)
    return torch.where(u < UNIFORM_SHARE + BELOW_SHARE, (v * reach).floor() + 1, top).long()
