import itertools
from collections.abc import Mapping, Sequence

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


def layers_of(n_layers: int, *, is_normed: bool) -> list[DenseLayer]:
    hidden = [
        DenseLayer(
            weight=f"{i}.weight",
            bias=f"{i}.bias",
            gain=f"{i}.gain" if is_normed else "",
            shift=f"{i}.shift" if is_normed else "",
            mask=f"{i}.mask",
        )
        for i in range(n_layers - 1)
    ]
    return [*hidden, DenseLayer(weight=f"{n_layers - 1}.weight", bias=f"{n_layers - 1}.bias")]


def weights_of(
    layers: Sequence[DenseLayer], widths: Sequence[int], n_models: int, seed: int
) -> dict[str, torch.Tensor]:
    return {
        name: normal(seed, "init", 0, name, (n_models, *shape)).double()
        for layer, (n_in, n_out) in zip(layers, itertools.pairwise(widths), strict=True)
        for name, shape in (
            (layer.weight, (n_out, n_in)),
            (layer.bias, (n_out,)),
            (layer.gain, (n_out,)),
            (layer.shift, (n_out,)),
        )
        if name
    }


def outputs_of(
    layers: Sequence[DenseLayer],
    weights: Mapping[str, torch.Tensor],
    masks: Mapping[str, torch.Tensor],
    hidden: torch.Tensor,
) -> torch.Tensor:
    """Return the outputs by the operations of torch.nn, [models, examples, classes]."""
    for layer in layers:
        hidden = torch.einsum("kbi,koi->kbo", hidden, weights[layer.weight])
        hidden = hidden + weights[layer.bias][:, None]
        if layer.gain:
            hidden = functional.layer_norm(hidden, hidden.shape[-1:])
            hidden = hidden * weights[layer.gain][:, None] + weights[layer.shift][:, None]
        if layer is not layers[-1]:
            hidden = hidden.relu() * masks.get(layer.mask, 1.0)
    return hidden


@settings(max_examples=50, deadline=None)
@given(
    widths=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    n_models=st.integers(1, 4),
    n_examples=st.integers(1, 7),
    is_masked=st.booleans(),
    is_normed=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_gradient_of_each_model_equals_that_of_autograd(
    widths: list[int], n_models: int, n_examples: int, is_masked: bool, is_normed: bool, seed: int
) -> None:
    """In float64: a few hundred roundings of 2^-53, which each of at most three layer norms
    multiplies by at most 1 / sqrt(1e-5) = 316. A second call reuses the same memory.
    """
    layers = layers_of(len(widths) - 1, is_normed=is_normed)
    weights = {
        name: weight.requires_grad_()
        for name, weight in weights_of(layers, widths, n_models, seed).items()
    }
    masks = {
        layer.mask: 2.0
        * (normal(seed, "mask", 0, str(i), (n_models, n_examples, widths[i + 1])) > 0).double()
        for i, layer in enumerate(layers[:-1])
        if is_masked
    }
    inputs = normal(seed, "data", 0, "inputs", (n_models, n_examples, widths[0])).double()
    labels = (
        normal(seed, "data", 0, "labels", (n_models, n_examples)).abs() * 100
    ).long() % widths[-1]
    outputs = outputs_of(layers, weights, masks, inputs)
    expected = (
        functional.cross_entropy(
            outputs.reshape(-1, widths[-1]), labels.reshape(-1), reduction="none"
        )
        .view(n_models, -1)
        .mean(1)
    )
    gradients = dict(
        zip(weights, torch.autograd.grad(expected.sum(), list(weights.values())), strict=True)
    )
    networks, found = (
        DenseNetworks(layers),
        {name: torch.full_like(weight, 9.0) for name, weight in weights.items()},
    )
    tolerance = 1e-12 * (316 ** (len(layers) - 1) if is_normed else 1)
    for _ in range(2):
        with torch.no_grad():
            losses = networks.gradient(
                {name: weight.detach() for name, weight in weights.items()},
                masks,
                (inputs, labels),
                found,
            )
        torch.testing.assert_close(losses, expected.detach(), rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(found, gradients, rtol=tolerance, atol=tolerance)


@settings(max_examples=20, deadline=None)
@given(
    widths=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    n_models=st.integers(1, 4),
    is_normed=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_outputs_equal_those_of_each_model(
    widths: list[int], n_models: int, is_normed: bool, seed: int
) -> None:
    """For more examples than a single block; a gradient in between does not change them."""
    n_examples = ROWS_AT_ONCE + 3
    layers = layers_of(len(widths) - 1, is_normed=is_normed)
    weights = weights_of(layers, widths, n_models, seed)
    inputs = normal(seed, "data", 0, "inputs", (n_examples, widths[0])).double()
    expected = outputs_of(layers, weights, {}, inputs.expand(n_models, *inputs.shape))
    networks = DenseNetworks(layers)
    found = networks.outputs(weights, inputs)
    labels = torch.zeros(n_models, ROWS_AT_ONCE, dtype=torch.int64)
    networks.gradient(
        weights,
        {},
        (inputs[:ROWS_AT_ONCE].expand(n_models, -1, -1), labels),
        {name: weight.clone() for name, weight in weights.items()},
    )
    tolerance = 1e-12 * (316 ** (len(layers) - 1) if is_normed else 1)
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


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
