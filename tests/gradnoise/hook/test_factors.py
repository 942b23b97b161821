"""Factors of the noise by group and by name."""

from typing import Any

import pytest
import torch
from torch.nn import Parameter

from gradnoise import attach, constant, preconditioned
from gradnoise._streams import normal

SHAPES = {"embed.weight": (4, 3), "head.weight": (3, 3), "head.bias": (3,)}


def parameters(dtype: torch.dtype = torch.float32) -> dict[str, Parameter]:
    return {name: Parameter(torch.zeros(shape, dtype=dtype)) for name, shape in SHAPES.items()}


def factors_of(
    optimizer: torch.optim.Optimizer, named: dict[str, Parameter], t: int = 0
) -> list[float]:
    """Make an update on gradients of 0; return the factor of each parameter's noise."""
    for parameter in named.values():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    found = []
    for name, parameter in named.items():
        assert parameter.grad is not None
        noise = normal(1, "noise", t, name, parameter.shape).to(parameter.dtype)
        factor = float(parameter.grad.flatten()[0] / noise.flatten()[0])
        torch.testing.assert_close(parameter.grad, factor * noise)
        found.append(round(factor, 6))
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_first_pattern_that_matches_a_name_gives_its_factor(dtype: torch.dtype) -> None:
    """On the fast path and by chunks; names that no pattern matches have factor 1."""
    named = parameters(dtype)
    optimizer = torch.optim.SGD(named.items(), lr=1.0)
    attach(optimizer, constant(1.0), seed=1, noise_scale={"*.bias": 0.0, "head*": 0.5})
    for t in range(3):
        assert factors_of(optimizer, named, t) == [1.0, 0.5, 0.0]


def test_the_noise_scale_of_a_group_multiplies_its_noise_and_may_change() -> None:
    named = parameters()
    *weights, bias = named.items()
    groups: list[dict[str, Any]] = [{"params": weights}, {"params": [bias], "noise_scale": 0.25}]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    attach(optimizer, constant(1.0), seed=1, noise_scale={"head*": 0.5})
    assert factors_of(optimizer, named, 0) == [1.0, 0.5, 0.125]
    optimizer.param_groups[0]["noise_scale"] = 2.0
    assert factors_of(optimizer, named, 1) == [2.0, 1.0, 0.125]
    optimizer.param_groups[1]["noise_scale"] = 0.0
    assert factors_of(optimizer, named, 2) == [2.0, 1.0, 0.0]


def test_a_gradient_with_factor_zero_is_unchanged_to_the_bit() -> None:
    named = parameters()
    optimizer = torch.optim.SGD(named.items(), lr=1.0)
    attach(optimizer, preconditioned(0.3, 0.55), seed=1, noise_scale={"*": 0.0})
    for parameter in named.values():
        parameter.grad = torch.full_like(parameter, 0.1)
    optimizer.step()
    assert all((parameter.grad == torch.tensor(0.1)).all() for parameter in named.values())


def test_factors_apply_to_preconditioned_noise_and_to_parameters_without_a_gradient() -> None:
    noises = []
    for scale in (1.0, 0.5):
        named = parameters()
        optimizer = torch.optim.SGD(named.items(), lr=1.0)
        attach(optimizer, preconditioned(0.3, 0.55), seed=1, noise_scale={"head.bias": scale})
        named["head.bias"].grad = torch.ones(3)
        optimizer.step()
        noises.append(named["head.bias"].grad - 1)
    torch.testing.assert_close(0.5 * noises[0], noises[1], rtol=1e-5, atol=1e-6)


def test_the_factor_of_a_group_is_part_of_the_optimizers_checkpoint() -> None:
    """As every option of a group."""
    named = parameters()
    saved = torch.optim.SGD([{"params": list(named.items()), "noise_scale": 0.5}], lr=1.0)
    optimizer = torch.optim.SGD(named.items(), lr=1.0)
    attach(optimizer, constant(1.0), seed=1)
    optimizer.load_state_dict(saved.state_dict())
    assert factors_of(optimizer, named) == [0.5] * 3


def test_a_pattern_that_matches_no_name_raises_an_error() -> None:
    optimizer = torch.optim.SGD(parameters().items(), lr=1.0)
    with pytest.raises(
        ValueError, match=r"the pattern '\*.biass' of noise_scale matches no .*embed"
    ):
        attach(optimizer, constant(1.0), seed=1, noise_scale={"*.biass": 0.0})
    assert "gradnoise_t" not in optimizer.param_groups[0]


@pytest.mark.parametrize(
    ("scale", "kind"), [(-1.0, ValueError), (float("nan"), ValueError), ("0", TypeError)]
)
def test_an_illegal_factor_of_a_group_raises_an_error(scale: Any, kind: type[Exception]) -> None:
    named = parameters()
    optimizer = torch.optim.SGD([{"params": list(named.items()), "noise_scale": scale}], lr=1.0)
    with pytest.raises(kind, match=r"param_groups\[0\]\['noise_scale'\] must be"):
        attach(optimizer, constant(1.0), seed=1)
    optimizer.param_groups[0].pop("noise_scale")
    attach(optimizer, constant(1.0), seed=1)
    optimizer.param_groups[0]["noise_scale"] = scale
    with pytest.raises(kind, match=r"param_groups\[0\]\['noise_scale'\] must be"):
        factors_of(optimizer, named)
