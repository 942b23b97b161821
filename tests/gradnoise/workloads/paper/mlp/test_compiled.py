import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradnoise._kernels import backends
from gradnoise._kernels.network_job import PARAMETERS
from gradnoise._streams import normal
from gradnoise.training.stacked_run import by_name
from gradnoise.workloads.paper.mlp.compiled import CompiledNetworks, DenseLayer
from gradnoise.workloads.paper.mlp.dense import DenseNetworks

pytestmark = pytest.mark.skipif(backends.networks() is None, reason="needs numba")

BEYOND = 40
"""Numbers beside those of a network, which must stay unchanged."""


class Case:
    """Networks and batches whose hidden activations have no rounding in float32.

    So each ReLU lets the same activations pass in float32 and in float64. Weights are integers
    times a power of 2.

    With layer norms, activations are rounded. There the gains g are 1/16 or -1/16 and the shifts 1
    or -1, so that the same units pass for every example: |g x| <= sqrt(width - 1) / 16 < 1.
    """

    def __init__(
        self,
        widths: list[int],
        *,
        n_networks: int = 3,
        n_examples: int = 23,
        is_masked: bool = False,
        is_normed: bool = False,
        seed: int = 1,
    ) -> None:
        n_layers = len(widths) - 1
        self.shapes = {
            f"{i}.{kind}": torch.Size([n_out, n_in] if kind == "weight" else [n_out])
            for i, (n_in, n_out) in enumerate(itertools.pairwise(widths))
            for kind in PARAMETERS
            if kind in ("weight", "bias") or (is_normed and i < n_layers - 1)
        }
        self.n_numbers = sum(shape.numel() for shape in self.shapes.values())
        self.flat = (2 * normal(seed, "init", 0, "w", (n_networks, self.n_numbers))).round() / 16
        for name, part in by_name(self.flat, self.shapes).items():
            if name.endswith(("gain", "shift")):
                size = 1 / 16 if name.endswith("gain") else 1.0
                part.copy_(torch.where(part > 0, size, -size))
        self.inputs = normal(seed, "data", 0, "x", (n_networks, n_examples, widths[0])).round()
        self.labels = (
            normal(seed, "data", 0, "y", (n_networks, n_examples)).abs() * 100
        ).long() % widths[-1]
        self.masks = {
            f"{i}.mask": 2.0
            * (normal(seed, "mask", 0, f"{i}", (n_networks, n_examples, width)) > 0)
            for i, width in enumerate(widths[1:-1])
            if is_masked
        }
        self.layers = [
            DenseLayer(
                **{kind: f"{i}.{kind}" for kind in PARAMETERS if f"{i}.{kind}" in self.shapes},
                mask=f"{i}.mask" if i < n_layers - 1 else "",
            )
            for i in range(n_layers)
        ]

    def gradient(
        self, networks: DenseNetworks | CompiledNetworks, dtype: torch.dtype, of: slice
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the losses and the gradients of some of the networks."""
        flat = self.flat[of].to(dtype)
        found = torch.full((len(flat), self.n_numbers + BEYOND), 9.0, dtype=dtype)
        losses = networks.gradient(
            self.weights(dtype, of),
            {name: mask[of].to(dtype) for name, mask in self.masks.items()},
            (self.inputs[of].to(dtype), self.labels[of]),
            by_name(found[:, : self.n_numbers], self.shapes),
        )
        assert (found[:, self.n_numbers :] == 9.0).all()
        return losses, found

    def weights(self, dtype: torch.dtype, of: slice) -> Mapping[str, torch.Tensor]:
        return by_name(self.flat[of].to(dtype), self.shapes)


ALL = slice(None)
shapes = {
    "hidden": st.lists(st.integers(16, 70), max_size=3),
    "n_inputs": st.integers(16, 80),
    "n_classes": st.integers(10, 40),
    "n_networks": st.integers(1, 3),
    "n_examples": st.integers(10, 150),
    "seed": st.integers(0, 99),
}


@settings(max_examples=60, deadline=None)
@given(is_masked=st.booleans(), is_normed=st.booleans(), **shapes)
def test_gradients_equal_those_in_float64(
    hidden: list[int],
    n_inputs: int,
    n_classes: int,
    n_networks: int,
    n_examples: int,
    is_masked: bool,
    is_normed: bool,
    seed: int,
) -> None:
    """Sums of at most 150 products are rounded by 150 x 6e-8 of the sum of their magnitudes each.

    The magnitudes are those of a whole gradient, as its numbers are sums with either sign.
    """
    case = Case(
        [n_inputs, *hidden, n_classes],
        n_networks=n_networks,
        n_examples=n_examples,
        is_masked=is_masked,
        is_normed=is_normed,
        seed=seed,
    )
    losses, found = case.gradient(CompiledNetworks(case.layers), torch.float32, ALL)
    expected_losses, expected = case.gradient(DenseNetworks(case.layers), torch.float64, ALL)
    torch.testing.assert_close(losses.double(), expected_losses, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        found.double(), expected, rtol=1e-5, atol=1e-5 * expected[:, :-BEYOND].abs().max().item()
    )


@settings(max_examples=30, deadline=None)
@given(is_normed=st.booleans(), **shapes)
def test_outputs_equal_those_in_float64(
    hidden: list[int],
    n_inputs: int,
    n_classes: int,
    n_networks: int,
    n_examples: int,
    is_normed: bool,
    seed: int,
) -> None:
    """They have no rounding either without layer norms, and with them that of gradients; a gradient
    in between does not change them.
    """
    case = Case(
        [n_inputs, *hidden, n_classes],
        n_networks=n_networks,
        n_examples=n_examples,
        is_normed=is_normed,
        seed=seed,
    )
    tolerance = 1e-5 if is_normed else 0.0
    networks = CompiledNetworks(case.layers)
    for _ in range(2):
        found = networks.outputs(case.weights(torch.float32, ALL), case.inputs[0])
        expected = DenseNetworks(case.layers).outputs(
            case.weights(torch.float64, ALL), case.inputs[0].double()
        )
        torch.testing.assert_close(
            found.double(),
            expected,
            rtol=tolerance,
            atol=tolerance * expected.abs().max().item(),
        )
        case.gradient(networks, torch.float32, ALL)


@pytest.mark.parametrize("is_normed", [False, True])
@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_a_network_is_the_same_in_any_number_and_on_any_number_of_threads(
    n_threads: int, is_normed: bool
) -> None:
    """Its loss, its gradient and its outputs, to the bit."""
    case = Case([64, 50, 50, 10], n_networks=7, is_normed=is_normed)
    networks = CompiledNetworks(case.layers)

    def found(of: slice) -> tuple[torch.Tensor, ...]:
        outputs = networks.outputs(case.weights(torch.float32, of), case.inputs[0])
        return *case.gradient(networks, torch.float32, of), outputs

    alone = [found(slice(k, k + 1)) for k in range(7)]
    with threads(n_threads):
        together = found(ALL)
    for all_of_them, parts in zip(together, zip(*alone, strict=True), strict=True):
        assert torch.equal(all_of_them, torch.cat(parts))


@pytest.mark.parametrize("is_normed", [False, True])
def test_a_network_that_is_not_finite_has_no_finite_loss_and_changes_no_other(
    is_normed: bool,
) -> None:
    case = Case([64, 50, 50, 10], is_normed=is_normed)
    networks = CompiledNetworks(case.layers)
    _, before = case.gradient(networks, torch.float32, ALL)
    case.flat[1, 100] = torch.nan
    losses, after = case.gradient(networks, torch.float32, ALL)
    assert losses.isnan().tolist() == [False, True, False]
    assert torch.equal(before[::2], after[::2])


@pytest.mark.parametrize(
    ("widths", "n_examples", "dtype", "is_taken"),
    [
        ([64, 50, 10], 100, torch.float32, True),
        ([64, 50, 10], 100, torch.float64, False),
        ([64, 50, 10], 9, torch.float32, False),
        ([64, 15, 10], 100, torch.float32, False),
        ([64, 50, 9], 100, torch.float32, False),
        ([64, 256, 10], 100, torch.float32, False),
    ],
)
def test_the_kernel_takes_layers_of_some_widths(
    widths: list[int], n_examples: int, dtype: torch.dtype, is_taken: bool
) -> None:
    case = Case(widths, n_examples=n_examples)
    networks = CompiledNetworks(case.layers)
    assert networks.takes(case.weights(dtype, ALL), case.inputs.to(dtype)) == is_taken


@contextmanager
def threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
