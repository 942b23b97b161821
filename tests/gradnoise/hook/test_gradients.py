"""The hook on gradients of every layout and type: each element gets the noise of its index."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import Parameter

from gradnoise import attach, constant
from gradnoise._hook.gradients import of_shard
from gradnoise._streams import normal

SHAPES = {"matrix": (30, 20), "vector": (7,), "scalar": (), "nothing": (0, 3)}


def noise_of(name: str, shape: tuple[int, ...], t: int = 0) -> torch.Tensor:
    return normal(1, "noise", t, name, shape)


def attached(parameters: dict[str, Parameter], **options: Any) -> torch.optim.Optimizer:
    """Return SGD with noise of standard deviation 1 and seed 1."""
    optimizer = torch.optim.SGD(parameters.items(), lr=1.0)
    attach(optimizer, constant(1.0), seed=1, **options)
    return optimizer


def table(rows: int = 6, columns: int = 3) -> torch.nn.Embedding:
    return torch.nn.Embedding(rows, columns, padding_idx=0, sparse=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_every_shape_and_type_gets_the_noise_of_its_elements_rounded_once(
    dtype: torch.dtype,
) -> None:
    parameters = {
        name: Parameter(torch.zeros(shape, dtype=dtype)) for name, shape in SHAPES.items()
    }
    optimizer = attached(parameters)
    for parameter in parameters.values():
        parameter.grad = torch.full_like(parameter, 0.25)
    optimizer.step()
    for name, parameter in parameters.items():
        exact = 0.25 + noise_of(name, parameter.shape).to(torch.promote_types(dtype, torch.float32))
        assert torch.equal(parameter.grad, exact.to(dtype))
        assert torch.equal(parameter, -parameter.grad)


def expanded(shape: tuple[int, int]) -> torch.Tensor:
    return torch.zeros(()).expand(shape)


def of_one_row(shape: tuple[int, int]) -> torch.Tensor:
    return torch.zeros(1, shape[1]).expand(shape)


def transposed(shape: tuple[int, int]) -> torch.Tensor:
    return torch.zeros(shape[::-1]).t()


def strided(shape: tuple[int, int]) -> torch.Tensor:
    return torch.zeros(shape[0], 2 * shape[1])[:, ::2]


def within_a_buffer(shape: tuple[int, int]) -> torch.Tensor:
    return torch.zeros(math.prod(shape) + 5)[1:-4].view(shape)


@pytest.mark.parametrize("layout", [expanded, of_one_row, transposed, strided, within_a_buffer])
def test_the_layout_of_a_gradient_does_not_change_its_noise(
    layout: Callable[[tuple[int, int]], torch.Tensor],
) -> None:
    """The noise is independent even for an expanded gradient, whose elements share memory."""
    weight = Parameter(torch.zeros(30, 20))
    optimizer = attached({"weight": weight})
    weight.grad = layout((30, 20))
    optimizer.step()
    assert torch.equal(weight.grad, noise_of("weight", (30, 20)))


def missing(_shape: tuple[int, int]) -> None:
    return None


def double(shape: tuple[int, int]) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.float64)


def sparse(shape: tuple[int, int]) -> torch.Tensor:
    """Return a gradient that holds every second row, the last of them twice."""
    rows = torch.tensor([*range(0, shape[0], 2), (shape[0] - 1) // 2 * 2])
    return torch.sparse_coo_tensor(
        rows[None],
        torch.zeros(len(rows), shape[1]),
        shape,
        is_coalesced=False,
        check_invariants=False,
    )


def rowless(shape: tuple[int, int]) -> torch.Tensor:
    return torch.sparse_coo_tensor(
        torch.zeros(1, 0, dtype=torch.int64),
        torch.zeros(0, shape[1]),
        shape,
        check_invariants=False,
    )


KINDS = [
    torch.zeros,
    expanded,
    transposed,
    strided,
    within_a_buffer,
    missing,
    double,
    sparse,
    rowless,
]


# torch 2.11 warns if a sparse tensor is made without a choice
@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.filterwarnings("ignore:No parameter of the optimizer has a gradient")
@settings(max_examples=50, deadline=None)
@given(
    updates=st.lists(
        st.lists(st.sampled_from(KINDS), min_size=4, max_size=4), min_size=1, max_size=3
    )
)
def test_the_kind_of_a_gradient_does_not_change_the_noise_of_the_others(
    updates: list[list[Callable[..., torch.Tensor | None]]],
) -> None:
    """Four parameters whose gradients are of any kind at each update."""
    shapes = {"a": (5, 3), "b": (5, 3), "c": (1, 7), "d": (300, 400)}
    parameters = {
        name: Parameter(torch.zeros(shape, dtype=torch.float64 if name == "b" else torch.float32))
        for name, shape in shapes.items()
    }
    optimizer = attached(parameters, allow=["sparse"])
    for t, kinds in enumerate(updates):
        for kind, (name, parameter) in zip(kinds, parameters.items(), strict=True):
            gradient = kind(shapes[name])
            parameter.grad = None if gradient is None else gradient.to(parameter.dtype)
        optimizer.step()
        for kind, (name, parameter) in zip(kinds, parameters.items(), strict=True):
            expected = noise_of(name, shapes[name], t)
            if kind is missing:
                assert parameter.grad is None
                continue
            if kind is rowless:
                expected[:] = 0.0
            if kind is sparse:
                expected[1::2] = 0.0
            assert torch.equal(parameter.grad.to_dense(), expected.to(parameter.dtype))


def test_memory_beside_a_gradient_stays_unchanged() -> None:
    memory = torch.zeros(60)
    weights = {name: Parameter(torch.zeros(5)) for name in ("a", "b")}
    optimizer = attached(weights)
    weights["a"].grad, weights["b"].grad = memory[3:8], memory[20:30:2]
    optimizer.step()
    expected = torch.zeros(60)
    expected[3:8], expected[20:30:2] = noise_of("a", (5,)), noise_of("b", (5,))
    assert torch.equal(memory, expected)


def summed(weights: dict[str, Parameter]) -> None:
    """Set gradients by torch.autograd.grad, which returns the same tensor for both weights."""
    found = torch.autograd.grad((3 * (weights["a"] + weights["b"])).sum(), list(weights.values()))
    for weight, gradient in zip(weights.values(), found, strict=True):
        weight.grad = gradient


def summed_views(weights: dict[str, Parameter]) -> None:
    """Set gradients by a backward pass through broadcast weights: both gradients share memory."""
    (3 * (weights["a"][None] + weights["b"][None])).sum().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("backward", [summed, summed_views])
def test_gradients_that_share_memory_get_independent_noise(
    backward: Callable[[dict[str, Parameter]], None], dtype: torch.dtype
) -> None:
    weights = {name: Parameter(torch.ones(5, dtype=dtype)) for name in ("a", "b")}
    optimizer = attached(weights)
    for t in range(3):
        optimizer.zero_grad()
        backward(weights)
        assert weights["a"].grad.data_ptr() == weights["b"].grad.data_ptr()
        optimizer.step()
        for name, weight in weights.items():
            torch.testing.assert_close(weight.grad, 3 + noise_of(name, (5,), t).to(dtype))


def test_gradients_that_overlap_in_part_get_independent_noise() -> None:
    """A class token, concatenated to a batch of one, and a position get one gradient: that of the
    token is the first row of that of the position.
    """
    token, position = Parameter(torch.zeros(1, 1, 8)), Parameter(torch.zeros(1, 5, 8))
    patches = torch.zeros(1, 4, 8)
    optimizer = attached({"token": token, "position": position})
    for t in range(3):
        loss = (3 * (torch.cat([token, patches], 1) + position)).sum()
        token.grad, position.grad = torch.autograd.grad(loss, [token, position])
        assert token.grad.data_ptr() == position.grad.data_ptr()  # type: ignore[union-attr]
        optimizer.step()
        for name, weight in {"token": token, "position": position}.items():
            torch.testing.assert_close(weight.grad, 3 + noise_of(name, weight.shape, t))


@pytest.mark.parametrize("offset", [0, 3, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_views_of_one_memory_get_independent_noise_wherever_they_start(
    dtype: torch.dtype, offset: int
) -> None:
    weights = {name: Parameter(torch.zeros(8, dtype=dtype)) for name in ("a", "b", "c")}
    optimizer = attached(weights)
    for t in range(2):
        memory = torch.zeros(30, dtype=dtype)
        for weight, start in zip(weights.values(), (offset, 2 * offset, 22), strict=True):
            weight.grad = memory[start : start + 8]
        optimizer.step()
        for name, weight in weights.items():
            assert torch.equal(weight.grad, noise_of(name, (8,), t).to(dtype))  # type: ignore[arg-type]


def test_a_gradient_whose_strides_overlap_gets_independent_noise() -> None:
    """Its elements share memory without a stride of 0."""
    weight = Parameter(torch.zeros(4, 4))
    optimizer = attached({"weight": weight})
    weight.grad = torch.zeros(7).as_strided((4, 4), (1, 1))
    optimizer.step()
    assert torch.equal(weight.grad, noise_of("weight", (4, 4)))


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate parameters")
def test_a_parameter_listed_twice_gets_noise_once() -> None:
    weight = Parameter(torch.zeros(20_000))
    optimizer = torch.optim.SGD([weight, weight], lr=1.0)
    attach(optimizer, constant(1.0), seed=1)
    weight.grad = torch.zeros(20_000)
    optimizer.step()
    assert abs(float(weight.grad.var()) - 1) < 5 * math.sqrt(2 / 20_000)


def test_tied_weights_get_noise_once() -> None:
    model = torch.nn.Sequential(torch.nn.Embedding(4, 3), torch.nn.Linear(3, 4, bias=False))
    model[1].weight = model[0].weight
    optimizer = attached(dict(model.named_parameters()))
    model(torch.tensor([1])).sum().backward()
    before = model[0].weight.grad.clone()
    optimizer.step()
    torch.testing.assert_close(model[1].weight.grad, before + noise_of("0.weight", (4, 3)))


@pytest.mark.parametrize("is_conjugate", [False, True])
def test_a_complex_gradient_gets_noise_on_its_real_and_imaginary_parts(
    is_conjugate: bool,
) -> None:
    """Both parts have the full standard deviation, also of a conjugate, whose memory holds the
    unconjugated numbers.
    """
    wave = Parameter(torch.zeros(4, dtype=torch.complex64))
    optimizer = attached({"wave": wave}, allow=["complex"])
    wave.grad = (
        torch.full((4,), 1.0 + 2.0j).conj() if is_conjugate else torch.full((4,), 1.0 - 2.0j)
    )
    optimizer.step()
    torch.testing.assert_close(
        wave.grad, 1.0 - 2.0j + torch.view_as_complex(noise_of("wave", (4, 2)))
    )
    assert torch.equal(wave, -wave.grad)


def test_an_expanded_complex_gradient_gets_independent_noise() -> None:
    wave = Parameter(torch.zeros(4, dtype=torch.complex64))
    optimizer = attached({"wave": wave}, allow=["complex"])
    wave.grad = torch.zeros((), dtype=torch.complex64).expand(4)
    optimizer.step()
    assert torch.equal(wave.grad, torch.view_as_complex(noise_of("wave", (4, 2))))


def test_autograd_notices_the_change_of_a_gradient_that_its_graph_holds() -> None:
    """The backward pass of a penalty on the gradient needs the gradient before its noise."""
    weight = Parameter(torch.ones(3))
    optimizer = attached({"weight": weight})
    (weight.grad,) = torch.autograd.grad((weight**2).sum(), weight, create_graph=True)
    penalty = (weight.grad**2).sum()
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(penalty, weight)


def test_meta_tensors_are_skipped() -> None:
    with torch.device("meta"):
        model = torch.nn.Linear(3, 2)
    optimizer = attached(dict(model.named_parameters()))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert optimizer.param_groups[0]["gradnoise_t"] == 1


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_grad_mode_of_a_step_does_not_change_the_noise(
    mode: Callable[[], torch.no_grad],
) -> None:
    weight = Parameter(torch.zeros(3))
    optimizer = attached({"weight": weight})
    weight.grad = torch.zeros(3)
    with mode():
        optimizer.step()
    assert torch.equal(weight.grad, noise_of("weight", (3,)))


def test_noise_of_std_zero_changes_nothing() -> None:
    """To the bit, for infinities and nans too."""
    weight = Parameter(torch.zeros(5))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    noise = attach(optimizer, eta=0.0, seed=1)
    given = torch.tensor([1.0, -0.5, math.inf, -math.inf, math.nan])
    weight.grad = given.clone()
    optimizer.step()
    torch.testing.assert_close(weight.grad, given, rtol=0, atol=0, equal_nan=True)
    assert (noise.t, noise.std) == (1, 0.0)


def test_a_complex_shard_raises_an_error() -> None:
    """Real noise would leave its imaginary part without noise, silently."""
    shard = SimpleNamespace(
        is_complex=lambda: True, placements=("Shard(0)",), dtype=torch.complex64
    )
    with pytest.raises(TypeError, match=r"the gradient of wave is placed as .*complex64"):
        of_shard("wave", shard)
