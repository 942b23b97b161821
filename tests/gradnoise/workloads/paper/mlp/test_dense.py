import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from gradnoise._streams import normal
from gradnoise.training.stacked_run import by_name
from gradnoise.workloads.paper.mlp import dense
from gradnoise.workloads.paper.mlp.compiled import DenseLayer
from gradnoise.workloads.paper.mlp.dense import ROWS_AT_ONCE, DenseNetworks


@settings(max_examples=30, deadline=None)
@given(
    widths=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    n_models=st.integers(1, 4),
    n_examples=st.integers(1, 7),
    is_masked=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_gradient_of_each_model_equals_that_of_autograd(
    widths: list[int], n_models: int, n_examples: int, is_masked: bool, seed: int
) -> None:
    """In float64: a few hundred roundings of 2^-53. A second call reuses the same memory."""
    n_layers = len(widths) - 1
    shapes = {f"{i}.weight": (n_models, widths[i + 1], widths[i]) for i in range(n_layers)}
    shapes |= {f"{i}.bias": (n_models, widths[i + 1]) for i in range(n_layers)}
    weights = {
        name: normal(seed, "init", 0, name, shape).double().requires_grad_()
        for name, shape in shapes.items()
    }
    masks = {
        f"{i}.mask": 2.0
        * (normal(seed, "mask", 0, str(i), (n_models, n_examples, widths[i + 1])) > 0).double()
        for i in range(n_layers - 1)
        if is_masked
    }
    inputs = normal(seed, "data", 0, "inputs", (n_models, n_examples, widths[0])).double()
    labels = (
        normal(seed, "data", 0, "labels", (n_models, n_examples)).abs() * 100
    ).long() % widths[-1]
    hidden = inputs
    for i in range(n_layers):
        hidden = (
            torch.einsum("kbi,koi->kbo", hidden, weights[f"{i}.weight"])
            + weights[f"{i}.bias"][:, None]
        )
        if i < n_layers - 1:
            hidden = hidden.relu() * masks.get(f"{i}.mask", 1.0)
    expected = (
        functional.cross_entropy(
            hidden.reshape(-1, widths[-1]), labels.reshape(-1), reduction="none"
        )
        .view(n_models, -1)
        .mean(1)
    )
    gradients = dict(
        zip(weights, torch.autograd.grad(expected.sum(), list(weights.values())), strict=True)
    )

    layers = [
        DenseLayer(
            weight=f"{i}.weight", bias=f"{i}.bias", mask=f"{i}.mask" if i < n_layers - 1 else ""
        )
        for i in range(n_layers)
    ]
    networks, found = (
        DenseNetworks(layers),
        {name: torch.full(shape, 9.0, dtype=torch.float64) for name, shape in shapes.items()},
    )
    for _ in range(2):
        with torch.no_grad():
            losses = networks.gradient(
                {name: weight.detach() for name, weight in weights.items()},
                masks,
                (inputs, labels),
                found,
            )
        torch.testing.assert_close(losses, expected.detach(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(found, gradients, rtol=1e-12, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(
    widths=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    n_models=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_the_outputs_equal_those_of_each_model(widths: list[int], n_models: int, seed: int) -> None:
    """For more examples than a single block; a gradient in between does not change them."""
    n_layers, n_examples = len(widths) - 1, ROWS_AT_ONCE + 3
    shapes = {f"{i}.weight": (n_models, widths[i + 1], widths[i]) for i in range(n_layers)}
    shapes |= {f"{i}.bias": (n_models, widths[i + 1]) for i in range(n_layers)}
    weights = {
        name: normal(seed, "init", 0, name, shape).double() for name, shape in shapes.items()
    }
    inputs = normal(seed, "data", 0, "inputs", (n_examples, widths[0])).double()
    expected = inputs.expand(n_models, *inputs.shape)
    for i in range(n_layers):
        expected = (
            torch.einsum("kbi,koi->kbo", expected, weights[f"{i}.weight"])
            + weights[f"{i}.bias"][:, None]
        )
        expected = expected.relu() if i < n_layers - 1 else expected
    networks = DenseNetworks(
        [DenseLayer(weight=f"{i}.weight", bias=f"{i}.bias") for i in range(n_layers)]
    )
    found = networks.outputs(weights, inputs)
    labels = torch.zeros(n_models, ROWS_AT_ONCE, dtype=torch.int64)
    networks.gradient(
        weights,
        {},
        (inputs[:ROWS_AT_ONCE].expand(n_models, -1, -1), labels),
        {name: weight.clone() for name, weight in weights.items()},
    )
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_gradients_written_in_place_equal_copied_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Into rows that hold all parameters of a model, for matrices on both sides of the limit."""
    widths, n_models, n_examples = (210, 50, 50, 10), 3, 20
    shapes = {
        f"{i}.{kind}": shape
        for i, (n_in, n_out) in enumerate(itertools.pairwise(widths))
        for kind, shape in (("weight", torch.Size([n_out, n_in])), ("bias", torch.Size([n_out])))
    }
    n_numbers = sum(shape.numel() for shape in shapes.values())
    weights = by_name(normal(1, "init", 0, "w", (n_models, n_numbers)).double(), shapes)
    inputs = normal(1, "data", 0, "inputs", (n_models, n_examples, widths[0])).double()
    labels = torch.arange(n_models * n_examples).view(n_models, -1) % widths[-1]
    networks = DenseNetworks([DenseLayer(weight=f"{i}.weight", bias=f"{i}.bias") for i in range(3)])

    def gradient(in_place_from: int) -> torch.Tensor:
        monkeypatch.setattr(dense, "IN_PLACE_FROM", in_place_from)
        found = torch.full((n_models, n_numbers), 9.0, dtype=torch.float64)
        networks.gradient(weights, {}, (inputs, labels), by_name(found, shapes))
        return found

    by_size, in_place, copied = map(gradient, (dense.IN_PLACE_FROM, 0, n_numbers))
    torch.testing.assert_close(by_size, copied, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(in_place, copied, rtol=1e-12, atol=1e-12)
