import math
import warnings
from typing import Any

import pytest
import torch
from torch.nn import Parameter

from gradnoise import NoiseProcess, annealed, anticorrelated, attach, constant, preconditioned
from gradnoise._streams import normal


def draws(t: int) -> torch.Tensor:
    return normal(1, "noise", t, "weight", (4,))


def sgd() -> torch.optim.Optimizer:
    """Return SGD on a single weight of four elements."""
    return torch.optim.SGD([("weight", Parameter(torch.zeros(4)))], lr=1.0)


def update(optimizer: torch.optim.Optimizer, gradient: float = 0.0) -> torch.Tensor:
    """Do an update and return the gradient that the optimizer received."""
    weight = optimizer.param_groups[0]["params"][0]
    weight.grad = torch.full((4,), gradient)
    optimizer.step()
    return weight.grad


def noise_of(name: str, shape: tuple[int, ...], t: int = 0) -> torch.Tensor:
    return normal(1, "noise", t, name, shape)


def attached(parameters: dict[str, Parameter], **options: Any) -> torch.optim.Optimizer:
    """Return SGD with noise of standard deviation 1 and seed 1."""
    optimizer = torch.optim.SGD(parameters.items(), lr=1.0)
    attach(optimizer, constant(1.0), seed=1, **options)
    return optimizer


def table(rows: int = 6, columns: int = 3) -> torch.nn.Embedding:
    return torch.nn.Embedding(rows, columns, padding_idx=0, sparse=True)


def test_the_terms_of_a_process_are_summed() -> None:
    """The draws of a t are the same at every update that uses them."""
    optimizer = sgd()
    noise = attach(optimizer, NoiseProcess(terms=lambda t: [(t, 0.4), (t + 5, 0.3)]), seed=1)
    assert noise.std == pytest.approx(0.5)
    for t in range(3):
        torch.testing.assert_close(
            update(optimizer, 2.0), 2.0 + 0.4 * draws(t) + 0.3 * draws(t + 5)
        )
    noise.remove()
    attach(optimizer, anticorrelated(std=0.5), seed=1)
    torch.testing.assert_close(update(optimizer), 0.5 * draws(0))
    torch.testing.assert_close(update(optimizer), 0.5 * (draws(1) - draws(0)))


def test_a_process_without_terms_adds_nothing() -> None:
    optimizer = sgd()
    noise = attach(optimizer, NoiseProcess(terms=lambda _t: ()), seed=1)
    assert torch.equal(update(optimizer, 2.0), torch.full((4,), 2.0))
    assert (noise.t, noise.std) == (1, 0.0)


def test_preconditioned_noise_follows_its_formula() -> None:
    """std_t N_t / sqrt(damping + sqrt(V)), with V of the gradients before their noise."""
    optimizer = sgd()
    attach(optimizer, preconditioned(eta=0.3, gamma=0.55, decay=0.9, damping=1e-3), seed=1)
    mean_square = 0.0
    for t in range(4):
        mean_square = 0.9 * mean_square + 0.1 * 2.0**2
        expected = 2.0 + annealed(0.3, 0.55).std(t) * draws(t) / math.sqrt(
            1e-3 + math.sqrt(mean_square)
        )
        torch.testing.assert_close(update(optimizer, 2.0), expected)


def test_preconditioned_noise_does_not_depend_on_other_parameters_and_their_kinds() -> None:
    """A float32 parameter gets the same noise to the bit beside one that the compiled kernel does
    not take, from the first update on; the noise of the latter follows the same formula.
    """
    ends = []
    for dtype in (None, torch.float64, torch.float32):
        parameters = {"weight": Parameter(torch.zeros(500))}
        if dtype is not None:
            parameters["other"] = Parameter(torch.zeros(500, dtype=dtype))
        optimizer = torch.optim.SGD(parameters.items(), lr=1.0)
        attach(optimizer, preconditioned(eta=0.3, gamma=0.55), seed=1)
        for _ in range(3):
            for parameter in parameters.values():
                parameter.grad = torch.linspace(-1, 2, 500).to(parameter.dtype)
            optimizer.step()
        ends.append([parameter.detach() for parameter in parameters.values()])
    alone, beside_double, beside_single = ends
    assert torch.equal(alone[0], beside_double[0])
    assert torch.equal(alone[0], beside_single[0])
    torch.testing.assert_close(beside_double[1].float(), beside_single[1], rtol=1e-5, atol=1e-5)


def test_preconditioned_noise_uses_unscaled_gradients_under_grad_scaler() -> None:
    moved = []
    for scale in (1.0, 1_024.0):
        weight = Parameter(torch.zeros(100))
        optimizer = torch.optim.SGD([weight], lr=1.0, fused=True)
        attach(optimizer, preconditioned(eta=0.3, gamma=0.55), seed=1)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        for _ in range(2):
            optimizer.zero_grad()
            scaler.scale((5.0 * weight).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
        moved.append(weight.detach())
    torch.testing.assert_close(*moved, rtol=1e-5, atol=1e-5)


def test_the_state_of_a_preconditioner_is_float32_whatever_the_default_type() -> None:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        optimizer = sgd()
        noise = attach(optimizer, preconditioned(eta=0.3, gamma=0.55), seed=1)
        update(optimizer, 2.0)
    finally:
        torch.set_default_dtype(before)
    assert noise.state_dict()["states"]["weight"].dtype == torch.float32


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


def test_a_parameter_that_replaces_another_gets_the_noise_of_its_name() -> None:
    weights = {name: Parameter(torch.zeros(3)) for name in ("a", "b", "c")}
    optimizer = attached({"a": weights["a"]})
    for t, name in enumerate(("b", "c")):
        optimizer.add_param_group({"params": [(name, weights[name])]})
        for weight in weights.values():
            weight.grad = torch.zeros(3)
        optimizer.step()
        assert torch.equal(weights[name].grad, noise_of(name, (3,), t))
        optimizer.param_groups.pop()


def test_adding_a_parameter_under_a_used_name_raises_an_error() -> None:
    first, second = Parameter(torch.zeros(3)), Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = attached({"a": first})
    optimizer.add_param_group({"params": [("a", second)]})
    first.grad, second.grad = torch.zeros_like(first), torch.zeros_like(second)
    with pytest.raises(ValueError, match="two parameters of the optimizer are named 'a'"):
        optimizer.step()


def test_freezing_a_parameter_does_not_change_the_noise_of_the_others() -> None:
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


@pytest.mark.parametrize("size", [1.0, 1e25, 1e-25])
def test_the_norm_of_many_small_gradients_neither_overflows_nor_vanishes(size: float) -> None:
    """Its squares would leave the range of float32."""
    weights = [Parameter(torch.zeros(64)) for _ in range(10)]
    optimizer = torch.optim.SGD(weights, lr=0.0)
    noise = attach(optimizer, constant(size), seed=1, measure_ratio=True)
    for _ in range(2):
        for weight in weights:
            weight.grad = torch.full((64,), size)
        optimizer.step()
    assert noise.ratio == pytest.approx(1 / math.sqrt(640), rel=1e-6)


@pytest.mark.parametrize(
    "kind", ["float32", "float64", "bfloat16", "float16", "complex64", "sparse"]
)
def test_the_ratio_is_std_over_the_global_gradient_norm(kind: str) -> None:
    """||g|| is the norm before the noise, exact to float32 rounding: a half-precision sum would be
    inexact or infinite.
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
        expected = annealed(0.3, 0.55).std(t) / math.sqrt(1_000 * 500.0**2 + 10 * 300.0**2)
        assert noise.ratio == pytest.approx(expected, rel=1e-5)


def test_the_ratio_is_infinite_if_all_gradients_are_zero() -> None:
    for shape in ((3,), (0,)):
        weight = Parameter(torch.zeros(shape))
        optimizer = torch.optim.SGD([weight], lr=1.0)
        noise = attach(optimizer, eta=0.3, seed=1, measure_ratio=True)
        weight.grad = torch.zeros(shape)
        optimizer.step()
        assert noise.ratio == math.inf


def test_the_ratio_uses_unscaled_gradients_under_grad_scaler() -> None:
    """A fused optimizer unscales gradients inside its step, after the hook."""
    weight = Parameter(torch.zeros(1_000))
    optimizer = torch.optim.SGD([weight], lr=1.0, fused=True)
    noise = attach(optimizer, constant(2.0), seed=1, measure_ratio=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=1_024.0)
    scaler.scale((5.0 * weight).sum()).backward()
    scaler.step(optimizer)
    assert noise.ratio == pytest.approx(2.0 / (5.0 * math.sqrt(1_000)), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_schedule_may_see_the_norm_of_the_gradient(dtype: torch.dtype) -> None:
    """||g|| is the global norm, before the noise and unscaled."""
    weight = Parameter(torch.zeros(4, dtype=dtype))
    optimizer = torch.optim.SGD([("weight", weight)], lr=1.0)
    noise = attach(optimizer, NoiseProcess.of(lambda t, norm: 0.25 * norm / (1 + t)), seed=1)
    assert noise.std is None
    for t, gradient in enumerate((2.0, 4.0, 8.0)):
        std = 0.25 * 2 * gradient / (1 + t)
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
        torch.testing.assert_close(weight.grad, (gradient + std * draws(t)).to(dtype))
        assert noise.last_std == pytest.approx(std)
        assert noise.ratio == pytest.approx(0.25 / (1 + t))


def test_a_schedule_of_the_norm_sees_unscaled_gradients_under_grad_scaler() -> None:
    weight = Parameter(torch.zeros(4))
    optimizer = torch.optim.SGD([weight], lr=1.0, fused=True)
    noise = attach(optimizer, NoiseProcess.of(lambda _t, norm: norm), seed=1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1_024.0)
    scaler.scale((5.0 * weight).sum()).backward()
    scaler.step(optimizer)
    assert noise.last_std == pytest.approx(10.0)


def test_a_frozen_parameter_whose_gradient_is_zero_causes_one_warning() -> None:
    """It gets noise and moves: whether it was frozen before or during training."""
    for n_before in (0, 3):
        weights = {name: Parameter(torch.zeros(3)) for name in ("a", "b")}
        optimizer = attached(weights)

        def step(weights: dict[str, Parameter] = weights, optimizer: Any = optimizer) -> None:
            for weight in weights.values():
                weight.grad = torch.zeros(3)
            optimizer.step()

        for _ in range(n_before):
            step()
        weights["b"].requires_grad_(False)
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            for _ in range(200):
                step()
        [warning] = found
        assert "b requires no gradient, but has a gradient" in str(warning.message)
        assert weights["b"].any()
