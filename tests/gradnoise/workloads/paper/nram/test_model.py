import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradnoise._streams import normal
from gradnoise.workloads.paper.nram import Nram
from gradnoise.workloads.paper.nram.data import ANY
from gradnoise.workloads.paper.nram.model import Machine, lengths
from gradnoise.workloads.paper.nram.modules import MODULES, N_ARGUMENTS, module


def distributions(seed: int, *shape: int) -> torch.Tensor:
    return (3 * normal(seed, "test", 0, "", shape).double()).softmax(-1)


def machine(**changes: Any) -> Machine:
    model = Machine(**{"size": 5, "n_registers": 2, "n_steps": 3, "n_hidden": 4} | changes).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(normal(1, "init", 0, name, parameter.shape))
    return model


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(4, 9), n_registers=st.integers(1, 4))
def test_distributions_stay_distributions(seed: int, size: int, n_registers: int) -> None:
    model = machine(size=size, n_registers=n_registers)
    registers, cells = (
        distributions(seed, 2, n_registers, size),
        distributions(seed + 1, 2, size, size),
    )
    n_choices = sum(N_ARGUMENTS.values()) + n_registers
    for found in model.compute(
        registers, cells, chosen(model, distributions(seed + 2, 2, n_choices, n_registers + 14))
    ):
        assert bool((found >= -1e-12).all())
        torch.testing.assert_close(
            found.sum(-1), torch.ones_like(found[..., 0]), rtol=0, atol=1e-12
        )


def chosen(model: Machine, choices: torch.Tensor) -> torch.Tensor:
    """Restrict choices to the registers and the outputs of earlier modules, and renormalise."""
    there = torch.arange(choices.shape[2]) < torch.tensor(model.n_options)[:, None]
    return choices * there / (choices * there).sum(2, keepdim=True)


def by_hand(model: Machine, memory: list[int], target: list[int]) -> tuple[float, torch.Tensor]:
    """Return the cost of an example and the memory after stopping, computed module by module."""
    size, n = model.size, model.n_registers
    eye = torch.eye(size, dtype=torch.float64)
    cells, registers = eye[memory], [eye[0] for _ in range(n)]
    cost, going, stopped = 0.0, 1.0, torch.zeros(size, size, dtype=torch.float64)
    h = carried = torch.zeros(model.choices.in_features, dtype=torch.float64)
    for step in range(model.n_steps):
        zeros = torch.stack([register[0] for register in registers])
        if model.is_recurrent:
            i, f, g, o = (model.hidden.weight @ torch.cat([zeros, h]) + model.hidden.bias).view(
                4, -1
            )
            carried = torch.sigmoid(f) * carried + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(carried)
        else:
            h = torch.relu(model.hidden.weight @ zeros + model.hidden.bias)
        logits, at, values = model.choices.weight @ h + model.choices.bias, 0, list(registers)

        def mixture(
            values: list[torch.Tensor], at: int, logits: torch.Tensor = logits
        ) -> torch.Tensor:
            odds = logits[at : at + len(values)].exp()
            return sum(
                (odd / odds.sum() * value for odd, value in zip(odds, values, strict=True)),
                torch.zeros(size),
            )

        for name in MODULES:
            arguments = []
            for _ in range(N_ARGUMENTS[name]):
                arguments.append(mixture(values, at)[None])
                at += len(values)
            output, after = module(name, cells[None], arguments)
            cells = after[0]
            values.append(output[0])
        registers = []
        for _ in range(n):
            registers.append(mixture(values, at))
            at += len(values)
        assert at == len(logits)
        f = (
            1.0
            if step == model.n_steps - 1
            else float(torch.sigmoid(model.finish.weight[0] @ h + model.finish.bias[0]))
        )
        cost -= (
            going
            * f
            * sum(math.log(max(float(cells[i, y]), 1e-6)) for i, y in enumerate(target) if y != ANY)
        )
        stopped, going = stopped + going * f * cells, going * (1 - f)
    return cost, stopped


@torch.no_grad()
@pytest.mark.parametrize("is_recurrent", [False, True])
def test_it_computes_the_papers_formulas(is_recurrent: bool) -> None:
    """For two examples in a batch, in training and in evaluation."""
    model = machine(is_recurrent=is_recurrent)
    memory, target = (
        torch.tensor([[1, 3, 2, 0, 4], [4, 0, 0, 1, 2]]),
        torch.tensor([[2, ANY, ANY, 4, 1], [ANY, 3, ANY, ANY, ANY]]),
    )
    stopped, cost, _ = model.run(memory, target)
    for i in range(2):
        expected, cells = by_hand(model, memory[i].tolist(), target[i].tolist())
        assert float(cost[i]) == pytest.approx(expected, rel=1e-10)
        torch.testing.assert_close(stopped[i], cells, rtol=1e-10, atol=1e-10)
    model.eval()
    error, soft_error, loss = model(memory[:, None], target[:, None], torch.zeros(2, 3))
    is_wrong = (stopped.argmax(2) != target) & (target != ANY)
    torch.testing.assert_close(
        soft_error.double(),
        is_wrong.sum(1) / torch.tensor([3.0, 1.0], dtype=torch.float64),
        rtol=1e-6,
        atol=0,
    )
    torch.testing.assert_close(loss, cost)
    assert 0 <= float(error.min()) <= float(error.max()) <= 1


@torch.no_grad()
def test_a_step_worked_by_hand() -> None:
    """Increment: read(0) = 3, inc(3) = 4, write(0, 4), and register 0 becomes 0 + 1; then read(1) =
    2, and so on.

    The willingness is 1/2 in the first step of two. Cell 0 is right after both steps, cell 1 only
    after the second, so the cost is - 1/2 (ln 1 + ln epsilon) - 1/2 (ln 1 + ln 1).
    """
    model = machine(n_registers=1, n_steps=2)
    for parameter in model.parameters():
        parameter.zero_()
    wired = {
        ("read", 0): 0,
        ("inc", 0): 1,
        ("add", 0): 0,
        ("add", 1): 3,
        ("write", 0): 0,
        ("write", 1): 5,
    }
    # register, read, 0, 1, 2, inc, add, ...
    takes = [wired.get((name, i), 0) for name in MODULES for i in range(N_ARGUMENTS[name])] + [6]
    bias = torch.full((sum(model.n_options),), -1e3, dtype=torch.float64)
    bias[
        torch.tensor(
            [
                start + take
                for start, take in zip(
                    itertools.accumulate([0, *model.n_options[:-1]]), takes, strict=True
                )
            ]
        )
    ] = 0
    model.choices.bias.copy_(bias)
    memory, target = torch.tensor([[3, 2, 0, 0, 0]]), torch.tensor([[4, 3, ANY, ANY, ANY]])
    stopped, cost, entropy = model.run(memory, target)
    assert float(cost) == pytest.approx(-0.5 * math.log(1e-6))
    assert float(entropy) == pytest.approx(0.0, abs=1e-12)
    assert stopped[0, 0].tolist() == [0, 0, 0, 0, 1]
    assert stopped[0, 1].tolist() == [0, 0, 0.5, 0.5, 0]
    model.finish.bias.fill_(-0.1)
    stopped, cost, _ = model.run(memory, target, is_discrete=True)
    assert (stopped[0].argmax(1).tolist(), float(cost)) == ([4, 3, 0, 0, 0], 0.0)
    model.finish.bias.fill_(0.1)
    assert model.run(memory, target, is_discrete=True)[0][0].argmax(1).tolist() == [4, 2, 0, 0, 0]


@torch.no_grad()
def test_the_discretised_circuit_computes_with_integers() -> None:
    model = machine(n_steps=6)
    stopped, _, entropy = model.run(
        torch.tensor([[1, 3, 2, 0, 4]]), torch.tensor([[2, ANY, ANY, 4, 1]]), is_discrete=True
    )
    assert bool(((stopped == 0) | (stopped == 1)).all())
    assert stopped.sum(2).tolist() == [[1.0] * 5]
    assert float(entropy) == 0.0


@torch.no_grad()
def test_the_entropy_bonus_halves_every_entropy_updates() -> None:
    """With weights of 0 all choices are uniform: their mean entropy is the mean of ln n."""
    model = machine(entropy=0.5, entropy_updates=2)
    for parameter in model.parameters():
        parameter.zero_()
    memory, target = torch.tensor([[[1, 3, 2, 0, 4]]]), torch.tensor([[[2, ANY, ANY, 4, 1]]])
    _, cost, entropy = model.run(memory[:, 0], target[:, 0])
    assert float(entropy) == pytest.approx(np.mean(np.log(model.n_options)), rel=1e-6)
    for update in range(5):
        found = model(memory, target, torch.zeros(1, 3))
        assert float(found) == pytest.approx(
            float(cost) - 0.5 * 0.5 ** (update / 2) * float(entropy), rel=1e-6
        )


@torch.no_grad()
def test_the_curriculum_continues_every_length_updates() -> None:
    """The lengths are 1, 1, 2, 2, 3, 3, 3, ... up to 3, with draws that give D + 0."""
    model, held_out = machine(length_updates=2), machine().eval()
    memory, target = (
        torch.tensor([[[1, 3, 2, 0, 4], [3, 2, 1, 1, 1], [0, 4, 2, 2, 2]]]),
        torch.tensor([[[2, ANY, 1, 4, 0]] * 3]),
    )
    costs = held_out(memory, target, torch.zeros(1, 3))[2].tolist()
    found = [float(model(memory, target, torch.tensor([[0.9, 0.5, 0.0]]))) for _ in range(8)]
    assert found == pytest.approx([costs[i] for i in (0, 0, 1, 1, 2, 2, 2, 2)])
    whole = machine()
    assert float(whole(memory, target, torch.tensor([[0.9, 0.5, 0.0]]))) == pytest.approx(costs[2])


def test_lengths_are_mixed_as_in_the_paper() -> None:
    """At D = 2 of 6, over n draws of the training data, within five standard errors of each share.

    The share of length l is 0.1 / 6, plus the sum over e = 0, 1, 2, ... with probability 2^-(e+1)
    of 0.25 / top where l <= top = min(2 + e, 6) and of 0.65 where l = top.
    """
    draws = Nram({"longest": 6}).data().train[2]
    found = lengths(draws, torch.tensor(2), 6)
    n = len(found)
    for length in range(1, 7):
        share = 0.1 / 6
        for e in range(60):
            top = min(2 + e, 6)
            share += 2.0 ** -(e + 1) * (0.25 / top * (length <= top) + 0.65 * (length == top))
        assert abs(float((found == length).double().mean()) - share) < 5 * math.sqrt(
            share * (1 - share) / n
        )
    assert set(
        lengths(torch.tensor([[0.05, 0.999, 0.0], [0.2, 0.0, 9.0], [0.9, 0.9, 9.0]]), 1, 6).tolist()
    ) == {6, 1}
