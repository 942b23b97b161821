"""The hook on sparse gradients: noise on the rows that the gradient holds."""

from typing import Any

import pytest
import torch
from torch.nn import Parameter

from gradnoise import attach, constant
from gradnoise._hook.gradients import of_sparse
from gradnoise._parts import of_box
from gradnoise._streams import normal


def noise_of(name: str, shape: tuple[int, ...], t: int = 0) -> torch.Tensor:
    return normal(1, "noise", t, name, shape)


def attached(parameters: dict[str, Parameter], **options: Any) -> torch.optim.Optimizer:
    """Return SGD with noise of standard deviation 1 and seed 1."""
    optimizer = torch.optim.SGD(parameters.items(), lr=1.0)
    attach(optimizer, constant(1.0), seed=1, **options)
    return optimizer


def table(rows: int = 6, columns: int = 3) -> torch.nn.Embedding:
    return torch.nn.Embedding(rows, columns, padding_idx=0, sparse=True)


def test_sparse_gradients_that_share_memory_get_independent_noise() -> None:
    """Two tables whose rows are summed, with a batch of size 1, have such gradients."""
    tables = {name: table() for name in ("a", "b")}
    optimizer = attached(
        {name: embedding.weight for name, embedding in tables.items()}, allow=["sparse"]
    )
    (3 * (tables["a"](torch.tensor([1])) + tables["b"](torch.tensor([2])))).sum().backward()
    optimizer.step()
    for (name, embedding), row in zip(tables.items(), (1, 2), strict=True):
        expected = 3 + noise_of(name, (6, 3))[row]
        torch.testing.assert_close(embedding.weight.grad.to_dense()[row], expected)


def test_only_the_rows_of_a_sparse_gradient_get_noise() -> None:
    """They get the rows of the dense noise. A row that was looked up twice gets its noise once; the
    padding row stays 0.
    """
    embedding = table()
    before = embedding.weight.detach().clone()
    optimizer = attached({"weight": embedding.weight}, allow=["sparse"])
    embedding(torch.tensor([[4, 0, 1], [4, 0, 4]])).sum().backward()
    optimizer.step()
    assert embedding.weight.grad.is_sparse
    expected = noise_of("weight", (6, 3))
    expected[[0, 2, 3, 5]] = 0.0
    expected[1] += 1.0
    expected[4] += 3.0
    torch.testing.assert_close(embedding.weight.grad.to_dense(), expected)
    torch.testing.assert_close(before - embedding.weight.detach(), expected)
    assert not embedding.weight[0].any()


def test_a_sparse_gradient_may_hold_other_rows_at_each_update() -> None:
    embedding = table()
    optimizer = attached({"weight": embedding.weight}, allow=["sparse"])
    for t, rows in enumerate(([1], [2, 5], [0], [5])):
        optimizer.zero_grad()
        (0.0 * embedding(torch.tensor(rows))).sum().backward()
        optimizer.step()
        expected = noise_of("weight", (6, 3), t)
        expected[[row for row in range(6) if row not in rows or row == 0]] = 0.0
        assert torch.equal(embedding.weight.grad.to_dense(), expected)


def test_a_sparse_gradient_without_rows_does_not_change_the_noise_of_the_others() -> None:
    """A batch that consists of padding looks up no row. Its table is trained beside a table with as
    many rows as there are parameters, and a dense parameter.
    """
    tables = {name: table() for name in ("empty", "full")}
    parameters = {
        **{name: embedding.weight for name, embedding in tables.items()},
        "dense": Parameter(torch.zeros(4)),
    }
    optimizer = attached(parameters, allow=["sparse"])
    for rows in ([1, 2, 3], [1, 2], [0]):
        tables["empty"](torch.tensor([0, 0])).sum().backward()
        (0.0 * tables["full"](torch.tensor(rows))).sum().backward()
        parameters["dense"].grad = torch.zeros(4)
        t = optimizer.param_groups[0]["gradnoise_t"]
        optimizer.step()
        assert not parameters["empty"].grad.to_dense().any()
        expected = noise_of("full", (6, 3), t)
        expected[[row for row in range(6) if row not in rows or row == 0]] = 0.0
        assert torch.equal(parameters["full"].grad.to_dense(), expected)
        assert torch.equal(parameters["dense"].grad, noise_of("dense", (4,), t))
        optimizer.zero_grad()


def test_a_sparse_gradient_without_rows_counts_as_a_gradient() -> None:
    embedding = table()
    optimizer = attached({"weight": embedding.weight}, allow=["sparse"])
    embedding(torch.tensor([0])).sum().backward()
    optimizer.step()
    assert not embedding.weight.grad.to_dense().any()


def test_sparse_and_complex_gradients_raise_an_error_by_default() -> None:
    table = torch.nn.Embedding(10, 3, sparse=True)
    optimizer = torch.optim.SGD(table.named_parameters(), lr=1.0)
    attach(optimizer, constant(1.0), seed=1)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(TypeError, match="the gradient of weight is sparse"):
        optimizer.step()
    wave = Parameter(torch.zeros(2, dtype=torch.complex64))
    optimizer = torch.optim.SGD([("wave", wave)], lr=1.0)
    attach(optimizer, constant(1.0), seed=1)
    wave.grad = torch.zeros_like(wave)
    with pytest.raises(TypeError, match="the gradient of wave is complex"):
        optimizer.step()


def test_the_part_of_a_sparse_gradient_is_the_rows_that_were_looked_up() -> None:
    table = torch.nn.Embedding(10, 3, sparse=True)
    table(torch.tensor([7, 2, 7])).sum().backward()
    gradient, values, part = of_sparse("weight", table.weight.grad)  # type: ignore[arg-type]
    assert part.size == 3
    assert part.starts.tolist() == [6, 21]
    assert values.tolist() == [[1.0] * 3, [2.0] * 3]
    values.zero_()
    assert not gradient.to_dense().any()


def test_the_part_of_a_sparse_gradient_without_rows_is_an_empty_run() -> None:
    """Every tensor has at least one run, so that the runs of many tensors can be told apart."""
    table = torch.nn.Embedding(10, 3, padding_idx=0, sparse=True)
    table(torch.tensor([0, 0])).sum().backward()
    _, values, part = of_sparse("weight", table.weight.grad)  # type: ignore[arg-type]
    assert values.numel() == part.size == 0
    assert part.starts.tolist() == of_box((4, 3), (0, 3), (4, 0)).starts.tolist() == [0]
