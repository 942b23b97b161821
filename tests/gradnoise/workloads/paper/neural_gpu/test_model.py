import math
from typing import Any

import pytest
import torch
from torch.nn import functional

from gradnoise._streams import normal
from gradnoise.workloads.paper.neural_gpu import NeuralGpu
from gradnoise.workloads.paper.neural_gpu.data import OPERATOR, PAD
from gradnoise.workloads.paper.neural_gpu.model import PULL, GatedConvolutions, lengths


def network(**changes: Any) -> GatedConvolutions:
    model = GatedConvolutions(**{"longest": 3, "width": 3, "maps": 2} | changes).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(normal(1, "init", 0, name, parameter.shape) / 2)
    return model


def by_hand(model: GatedConvolutions, symbols: list[int]) -> torch.Tensor:
    """Return the logits of a sequence, [symbols, 4], by `conv2d` on n x width cells."""

    def convolved(state: torch.Tensor, step: int, i: int, part: int) -> torch.Tensor:
        kernel, bias = (
            model.kernels[step % model.sets, i, :, :, :, part],
            model.biases[step % model.sets, i, part],
        )
        return functional.conv2d(state, kernel.permute(3, 2, 0, 1), bias, padding=1)

    def gate(x: torch.Tensor) -> torch.Tensor:
        return (
            (1.2 / (1 + torch.exp(-x)) - 0.1).clamp(0, 1)
            if model.is_cut
            else 1 / (1 + torch.exp(-x))
        )

    state = torch.zeros(1, model.maps, len(symbols), model.width, dtype=torch.float64)
    for i, symbol in enumerate(symbols):
        state[0, :, i, 0] = model.embedding[symbol]
    for step in range(len(symbols)):
        for i in range(2):
            update, reset = (gate(convolved(state, step, i, part)) for part in (0, 1))
            state = update * state + (1 - update) * torch.tanh(convolved(reset * state, step, i, 2))
    return state[0, :, :, 0].T @ model.output.weight.T + model.output.bias


@torch.no_grad()
@pytest.mark.parametrize(
    "changes", [{}, {"sets": 2}, {"width": 1, "is_cut": False}, {"width": 5, "maps": 3}]
)
def test_it_computes_the_papers_formulas(changes: dict[str, Any]) -> None:
    """A short sequence in a batch with longer ones has the same output as without them."""
    model = network(**changes)
    rows = [[1, 0, OPERATOR, 0, 1], [1, OPERATOR, 1], [0]]
    found = model.run(
        torch.tensor([row + [PAD] * (5 - len(row)) for row in rows], dtype=torch.int8)
    )
    for logits, row in zip(found, rows, strict=True):
        torch.testing.assert_close(logits[: len(row)], by_hand(model, row), rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_gates_worked_by_hand() -> None:
    """Without kernels, a cell s becomes u s + (1 - u) tanh(c) twice a step: u^2n s + (1 - u^2n)
    tanh(c) after n of them.

    sigmoid(ln 3) = 3/4, so u = 1.2 x 3/4 - 0.1 = 0.8. At a bias of 3, 1.2 sigmoid - 0.1 is over 1
    and the cut-off makes it 1: the state stays unchanged, and a network whose output weights are
    the identity copies its input.
    """
    model = network(width=2, maps=4)
    for parameter in model.parameters():
        parameter.zero_()
    model.biases[0, :, 0], model.biases[0, :, 2] = math.log(3), 0.5
    model.output.weight.copy_(torch.eye(4))
    model.embedding.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]))
    symbols = torch.tensor([[1, 0, 1]])
    kept = 0.8**6
    expected = kept * functional.one_hot(symbols, 4).double() + (1 - kept) * math.tanh(0.5)
    torch.testing.assert_close(model.run(symbols), expected, rtol=1e-12, atol=1e-12)
    model.biases[0, :, 0] = 3.0
    torch.testing.assert_close(
        model.run(symbols), functional.one_hot(symbols, 4).double(), rtol=0, atol=0
    )
    error, symbol_error, cost = model(
        symbols.expand(3, 3), torch.tensor([[1, 0, 1], [1, 1, 1], [0, 1, 1]])
    )
    assert error.tolist() == [0, 1, 1]
    assert symbol_error.tolist() == pytest.approx([0, 1 / 3, 2 / 3])
    right, wrong = math.log(math.e + 3) - 1, math.log(math.e + 3)
    assert cost.tolist() == pytest.approx(
        [right, (2 * right + wrong) / 3, (right + 2 * wrong) / 3], rel=1e-12
    )


@torch.no_grad()
def test_pads_beyond_the_end_of_a_sequence_do_not_count() -> None:
    model = network()
    inputs, targets = torch.tensor([[1, OPERATOR, 0]]), torch.tensor([[1, 0, PAD]])
    alone = model(inputs, targets)
    padded = model(
        functional.pad(inputs, (0, 4), value=PAD), functional.pad(targets, (0, 4), value=PAD)
    )
    torch.testing.assert_close(padded, alone, rtol=1e-10, atol=1e-10)


def batch(
    model: GatedConvolutions, n: int, u: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return n examples of copying in every length, whose draws give the present length, or, with
    a small u, a uniform length.
    """
    rows = torch.full((n, model.longest, model.longest), PAD)
    for i in range(model.longest):
        rows[:, i, : i + 1] = torch.arange(n)[:, None] % 2
    return rows, rows, torch.tensor([[u, 0.5]]).expand(n, 2)


@torch.no_grad()
def test_the_curriculum_continues_once_enough_sequences_are_right() -> None:
    """A network that copies is right throughout: after k updates at a length the average is 1 -
    0.9^k, above 0.6 at the ninth.
    """
    model = network(threshold=0.6, width=2, maps=4)
    for parameter in model.parameters():
        parameter.zero_()
    model.biases[0, :, 0] = 3.0
    model.output.weight.copy_(torch.eye(4))
    model.embedding.copy_(torch.eye(4)[:3])
    found = []
    for _ in range(30):
        model(*batch(model, 4, 0.9))
        found.append((int(model.n_passed), float(model.right)))
    averages = [0.0 if k == 9 else 1 - 0.9**k for k in range(1, 10)]
    assert [n for n, _ in found] == [0] * 8 + [1] * 9 + [2] * 9 + [3] * 4
    assert [right for _, right in found[:27]] == pytest.approx(averages * 3, abs=1e-6)
    model.embedding.copy_(torch.eye(4)[[1, 0, 2]])
    model(*batch(model, 4, 0.9))
    assert float(model.right) == pytest.approx(0.9 * averages[2], abs=1e-6)


@torch.no_grad()
def test_only_examples_of_the_present_length_change_its_average() -> None:
    """Where v = 1/2 draws length 2 of 3 while 1 is due, and in evaluation mode."""
    model = network()
    model.right.fill_(0.5)
    model(*batch(model, 4, 0.1))
    assert float(model.right) == 0.5
    model.eval()
    model(*batch(model, 4, 0.9))
    assert float(model.right) == 0.5


@torch.no_grad()
def test_the_present_length_is_trained() -> None:
    model = network().eval()
    inputs, targets, draws = batch(model, 4, 0.9)
    for n_passed, length in ((0, 1), (1, 2), (2, 3), (3, 3)):
        model.n_passed.fill_(n_passed)
        torch.testing.assert_close(
            model(inputs, targets, draws), model(inputs[:, length - 1], targets[:, length - 1])[2]
        )
    assert int(network(n_passed=2).n_passed) == 2


def test_a_fifth_of_the_lengths_is_uniform() -> None:
    """At difficulty 2 of 5, over the n draws of the training data: within five standard errors of
    each share.
    """
    draws = NeuralGpu({"task": "copy", "longest": 5}).data().train[2]
    found = lengths(draws, torch.tensor(2), 5)
    for length in range(1, 6):
        share = 0.2 / 5 + 0.8 * (length == 2)
        assert abs(float((found == length).double().mean()) - share) < 5 * math.sqrt(
            share * (1 - share) / len(found)
        )
    assert lengths(torch.tensor([[0.19, 0.0], [0.19, 0.9999], [0.2, 0.0]]), 2, 5).tolist() == [
        1,
        5,
        2,
    ]


@torch.no_grad()
def test_relaxation_penalises_differences_and_uses_the_mean_at_the_end() -> None:
    """Two sets that differ by d in each of k numbers have the penalty lambda k d^2 / 2; lambda is
    multiplied at each length passed.
    """
    model = network(sets=2, pull_factor=1.5).eval()
    inputs, targets, draws = batch(model, 4, 0.9)
    for part in (model.kernels, model.biases):
        part[1] = part[0] + 0.25
    n_numbers = model.kernels[0].numel() + model.biases[0].numel()
    for n_passed in range(4):
        model.n_passed.fill_(n_passed)
        length = min(n_passed + 1, 3)
        cost = model(inputs[:, length - 1], targets[:, length - 1])[2]
        expected = PULL * 1.5**n_passed * n_numbers * 0.25**2 / 2
        torch.testing.assert_close(
            model(inputs, targets, draws) - cost,
            torch.full((4,), expected).double(),
            rtol=1e-5,
            atol=0,
        )
    row = [1, 0, 1]
    found = model.run(torch.tensor([row]))[0]
    for part in (model.kernels, model.biases):
        part.copy_(part.mean(0, keepdim=True).expand_as(part))
    torch.testing.assert_close(found, by_hand(model, row), rtol=1e-10, atol=1e-10)
