"""The hook on gradients of every kind: each element gets the noise of its place in the parameter,
once.
"""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import Parameter

from gradnoise import annealed, attach, constant
from gradnoise.streams import normal

SHAPES = {"matrix": (30, 20), "vector": (7,), "scalar": (), "nothing": (0, 3)}


def noise_of(name: str, shape: tuple[int, ...], t: int = 0) -> torch.Tensor:
    return normal(1, "noise", t, name, shape)


def attached(parameters: dict[str, Parameter], **options: object) -> torch.optim.Optimizer:
    """Return SGD with noise of standard deviation 1 and seed 1."""
    optimizer = torch.optim.SGD(parameters.items(), lr=1.0)
    attach(optimizer, seed=1, **({"schedule": constant(1.0)} | options))
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
def test_the_layout_of_a_gradient_changes_nothing(
    layout: Callable[[tuple[int, int]], torch.Tensor],
) -> None:
    """An expanded gradient holds one number for many elements; they get independent noise all the
    same.
    """
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
    """Return a gradient that holds every other row, the last of them twice."""
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


# torch 2.11 asks every maker of a sparse tensor for a choice
@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.filterwarnings("ignore:No parameter of the optimizer has a gradient")
@settings(max_examples=50, deadline=None)
@given(
    updates=st.lists(
        st.lists(st.sampled_from(KINDS), min_size=4, max_size=4), min_size=1, max_size=3
    )
)
def test_gradients_of_any_kinds_together_get_each_their_own_noise(
    updates: list[list[Callable[..., torch.Tensor | None]]],
) -> None:
    """Four parameters, whose gradients are of whatever kind at each update: what one is changes
    nothing for the others.
    """
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


def test_what_lies_beside_a_gradient_in_memory_stays() -> None:
    memory = torch.zeros(60)
    weights = {name: Parameter(torch.zeros(5)) for name in ("a", "b")}
    optimizer = attached(weights)
    weights["a"].grad, weights["b"].grad = memory[3:8], memory[20:30:2]
    optimizer.step()
    expected = torch.zeros(60)
    expected[3:8], expected[20:30:2] = noise_of("a", (5,)), noise_of("b", (5,))
    assert torch.equal(memory, expected)


def added_up(weights: dict[str, Parameter]) -> None:
    """torch.autograd.grad returns one tensor for both."""
    found = torch.autograd.grad((3 * (weights["a"] + weights["b"])).sum(), list(weights.values()))
    for weight, gradient in zip(weights.values(), found, strict=True):
        weight.grad = gradient


def added_up_as_views(weights: dict[str, Parameter]) -> None:
    """As embeddings of position and kind, broadcast along a batch: a plain backward gives both
    gradients one memory.
    """
    (3 * (weights["a"][None] + weights["b"][None])).sum().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("backward", [added_up, added_up_as_views])
def test_gradients_that_share_their_memory_get_noise_of_their_own(
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


def test_sparse_gradients_that_share_their_memory_get_noise_of_their_own() -> None:
    """As of two tables whose rows are added up, in a batch of one."""
    tables = {name: table() for name in ("a", "b")}
    optimizer = attached({name: one.weight for name, one in tables.items()}, allow=["sparse"])
    (3 * (tables["a"](torch.tensor([1])) + tables["b"](torch.tensor([2])))).sum().backward()
    optimizer.step()
    for (name, one), row in zip(tables.items(), (1, 2), strict=True):
        torch.testing.assert_close(one.weight.grad.to_dense()[row], 3 + noise_of(name, (6, 3))[row])


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate parameters")
def test_a_parameter_that_is_listed_twice_gets_noise_once() -> None:
    weight = Parameter(torch.zeros(20_000))
    optimizer = torch.optim.SGD([weight, weight], lr=1.0)
    attach(optimizer, schedule=constant(1.0), seed=1)
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


def test_a_sparse_gradient_gets_the_noise_of_its_rows_alone() -> None:
    """The rows are those of the dense noise; a row that was looked up twice gets it once; the
    padding row stays exactly zero.
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


def test_the_rows_of_a_sparse_gradient_change_from_update_to_update() -> None:
    embedding = table()
    optimizer = attached({"weight": embedding.weight}, allow=["sparse"])
    for t, rows in enumerate(([1], [2, 5], [0], [5])):
        optimizer.zero_grad()
        (0.0 * embedding(torch.tensor(rows))).sum().backward()
        optimizer.step()
        expected = noise_of("weight", (6, 3), t)
        expected[[row for row in range(6) if row not in rows or row == 0]] = 0.0
        assert torch.equal(embedding.weight.grad.to_dense(), expected)


def test_a_sparse_gradient_without_rows_leaves_the_others_alone() -> None:
    """A batch of padding alone looks up no row; beside it stand a table with as many rows as there
    are parameters, and dense ones.
    """
    tables = {name: table() for name in ("empty", "full")}
    parameters = {
        **{name: one.weight for name, one in tables.items()},
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


def test_only_a_sparse_gradient_without_rows_is_a_gradient_too() -> None:
    embedding = table()
    optimizer = attached({"weight": embedding.weight}, allow=["sparse"])
    embedding(torch.tensor([0])).sum().backward()
    optimizer.step()
    assert not embedding.weight.grad.to_dense().any()


@pytest.mark.parametrize("is_conjugate", [False, True])
def test_a_complex_gradient_gets_noise_on_its_real_and_its_imaginary_part(
    is_conjugate: bool,
) -> None:
    """Each of the full standard deviation; a conjugate's memory holds other numbers than it shows."""
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


def test_a_gradient_that_a_graph_holds_is_not_changed_behind_its_back() -> None:
    """A penalty on the gradient needs the gradient as it was: torch refuses to go back through
    numbers that have changed since.
    """
    weight = Parameter(torch.ones(3))
    optimizer = attached({"weight": weight})
    (weight.grad,) = torch.autograd.grad((weight**2).sum(), weight, create_graph=True)
    penalty = (weight.grad**2).sum()
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(penalty, weight)


def test_a_parameter_may_change_its_shape() -> None:
    weight = Parameter(torch.zeros(3))
    optimizer = attached({"weight": weight})
    for t, shape in enumerate([(3,), (5,), (5, 2), (2, 5), (3,)]):
        weight.data = torch.zeros(shape)
        weight.grad = torch.zeros(shape)
        optimizer.step()
        assert torch.equal(weight.grad, noise_of("weight", shape, t))


def test_a_parameter_added_later_gets_the_noise_of_its_name() -> None:
    weights = {name: Parameter(torch.zeros(3)) for name in ("a", "b")}
    optimizer = attached({"a": weights["a"]})
    for t in range(4):
        if t == 2:
            optimizer.add_param_group({"params": [("b", weights["b"])]})
        for weight in weights.values():
            weight.grad = torch.zeros(3)
        optimizer.step()
        assert torch.equal(weights["a"].grad, noise_of("a", (3,), t))
        assert torch.equal(weights["b"].grad, noise_of("b", (3,), t) if t >= 2 else torch.zeros(3))
    assert [group["gradnoise_t"] for group in optimizer.param_groups] == [4, 4]


def test_a_parameter_that_takes_anothers_place_gets_the_noise_of_its_own_name() -> None:
    weights = {name: Parameter(torch.zeros(3)) for name in ("a", "b", "c")}
    optimizer = attached({"a": weights["a"]})
    for t, name in enumerate(("b", "c")):
        optimizer.add_param_group({"params": [(name, weights[name])]})
        for weight in weights.values():
            weight.grad = torch.zeros(3)
        optimizer.step()
        assert torch.equal(weights[name].grad, noise_of(name, (3,), t))
        optimizer.param_groups.pop()


def test_a_parameter_added_later_under_a_name_that_is_taken_is_refused() -> None:
    one, other = Parameter(torch.zeros(3)), Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = attached({"a": one})
    optimizer.add_param_group({"params": [("a", other)]})
    one.grad, other.grad = torch.zeros_like(one), torch.zeros_like(other)
    with pytest.raises(ValueError, match="two parameters of the optimizer are named 'a'"):
        optimizer.step()


def test_parameters_that_are_frozen_for_a_while_change_nothing_for_the_others() -> None:
    weights = {name: Parameter(torch.zeros(3)) for name in ("a", "b")}
    optimizer = attached(weights)
    for t, needs in enumerate((True, False, True, True)):
        weights["b"].requires_grad_(needs)
        optimizer.zero_grad()
        sum(0.0 * weight.sum() for weight in weights.values()).backward()
        optimizer.step()
        assert torch.equal(weights["a"].grad, noise_of("a", (3,), t))
        assert (
            weights["b"].grad is None
            if not needs
            else torch.equal(weights["b"].grad, noise_of("b", (3,), t))
        )


def test_weights_of_no_device_are_stepped_over() -> None:
    with torch.device("meta"):
        model = torch.nn.Linear(3, 2)
    optimizer = attached(dict(model.named_parameters()))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert optimizer.param_groups[0]["gradnoise_t"] == 1


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_grad_mode_around_a_step_changes_nothing(mode: Callable[[], torch.no_grad]) -> None:
    weight = Parameter(torch.zeros(3))
    optimizer = attached({"weight": weight})
    weight.grad = torch.zeros(3)
    with mode():
        optimizer.step()
    assert torch.equal(weight.grad, noise_of("weight", (3,)))


def test_noise_of_no_size_changes_nothing() -> None:
    """Bit for bit, infinities and nans too."""
    weight = Parameter(torch.zeros(5))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    noise = attach(optimizer, eta=0.0, seed=1)
    given = torch.tensor([1.0, -0.5, math.inf, -math.inf, math.nan])
    weight.grad = given.clone()
    optimizer.step()
    torch.testing.assert_close(weight.grad, given, rtol=0, atol=0, equal_nan=True)
    assert (noise.t, noise.std) == (1, 0.0)


@pytest.mark.parametrize(
    "kind", ["float32", "float64", "bfloat16", "float16", "complex64", "sparse"]
)
def test_the_ratio_is_that_of_the_noise_to_all_gradients_together(kind: str) -> None:
    """std / ||g||, ||g|| the norm before the noise, in float32 to its rounding: a half-precision
    sum would be off, or infinite.
    """
    embedding = table(6, 1_000)
    parameters = {"weight": Parameter(torch.zeros(1_000)), "other": Parameter(torch.zeros(10))}
    if kind == "sparse":
        parameters["weight"] = embedding.weight
    else:
        parameters["weight"].data = parameters["weight"].data.to(getattr(torch, kind))
    optimizer = torch.optim.SGD(parameters.items(), lr=1.0)
    noise = attach(
        optimizer, eta=0.3, gamma=0.55, seed=1, measure_ratio=True, allow=["sparse", "complex"]
    )
    assert noise.ratio is None
    for t in range(3):
        if kind == "sparse":
            optimizer.zero_grad()
            (250.0 * embedding(torch.tensor([2, 2, 0]))).sum().backward()
        else:
            parameters["weight"].grad = torch.full_like(parameters["weight"], 500.0)
        parameters["other"].grad = torch.full((10,), 300.0)
        optimizer.step()
        expected = annealed(0.3, 0.55)(t) / math.sqrt(1_000 * 500.0**2 + 10 * 300.0**2)
        assert noise.ratio == pytest.approx(expected, rel=1e-5)


def test_the_ratio_to_gradients_of_zero_is_infinite() -> None:
    for shape in ((3,), (0,)):
        weight = Parameter(torch.zeros(shape))
        optimizer = torch.optim.SGD([weight], lr=1.0)
        noise = attach(optimizer, eta=0.3, seed=1, measure_ratio=True)
        weight.grad = torch.zeros(shape)
        optimizer.step()
        assert noise.ratio == math.inf


def test_the_ratio_is_that_of_the_unscaled_gradient_under_a_gradient_scaler() -> None:
    """A fused optimizer unscales within its step, after the hook."""
    weight = Parameter(torch.zeros(1_000))
    optimizer = torch.optim.SGD([weight], lr=1.0, fused=True)
    noise = attach(optimizer, schedule=constant(2.0), seed=1, measure_ratio=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=1_024.0)
    scaler.scale((5.0 * weight).sum()).backward()
    scaler.step(optimizer)
    assert noise.ratio == pytest.approx(2.0 / (5.0 * math.sqrt(1_000)), rel=1e-5)
