import math

import pytest
import torch

from gradnoise.noise import Noise
from gradnoise.streams import normal


def test_noise_is_added_to_each_gradient_by_its_name() -> None:
    """g + std * N(0, 1), where the draw is the stream `noise` of the seed, the step and the parameter's name."""
    shapes = {"weight": (3, 4), "bias": (3,), "scale": ()}
    gradients = [torch.full(shape, 2.0) for shape in shapes.values()]
    Noise(5, shapes).add_(gradients, t=7, std=0.5)
    for (name, shape), gradient in zip(shapes.items(), gradients, strict=True):
        assert torch.equal(gradient, 2.0 + 0.5 * normal(5, "noise", 7, name, shape))


@pytest.mark.parametrize("std", [0.1, 1.0])
def test_noise_has_the_variance_it_is_given(std: float) -> None:
    """The sample variance of n draws lies within five of its own standard errors, sqrt(2/(n-1)): std is no variance, and nothing is cut."""
    n = 100_000
    drawn = Noise(5, {"w": (n,)}).draw(0, std).double()
    assert abs(float(drawn.var()) / std**2 - 1) < 5 * math.sqrt(2 / (n - 1))


def test_noise_of_one_step_says_nothing_of_the_next() -> None:
    n = 100_000
    noise = Noise(5, {"w": (n,)})
    one, two = noise.draw(0, 1.0).clone(), noise.draw(1, 1.0).clone()
    assert abs(float(torch.corrcoef(torch.stack([one, two]))[0, 1])) < 5 / math.sqrt(n)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_gradients_of_other_types_get_the_same_noise_rounded_once(dtype: torch.dtype) -> None:
    gradient = torch.full((1_000,), 0.25, dtype=dtype)
    Noise(5, {"w": (1_000,)}).add_([gradient], t=0, std=1.0)
    exact = 0.25 + normal(5, "noise", 0, "w", (1_000,)).to(torch.promote_types(dtype, torch.float32))
    assert torch.equal(gradient, exact.to(dtype))


def test_noncontiguous_gradients_get_their_noise_in_place() -> None:
    gradient = torch.zeros(4, 3).t()
    Noise(5, {"w": (3, 4)}).add_([gradient], t=0, std=1.0)
    assert torch.equal(gradient, normal(5, "noise", 0, "w", (3, 4)))
