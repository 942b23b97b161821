import subprocess
import sys

import pytest
import torch

from gradnoise._noise import Noise
from gradnoise._streams import normal


def test_scales_multiply_the_noise_element_by_element() -> None:
    scales = [torch.rand(300, 301), torch.rand(7)]
    plain, scaled = ([torch.zeros(300, 301), torch.zeros(7)] for _ in range(2))
    noise = Noise(5, {"a": (300, 301), "b": (7,)})
    noise.add_(plain, 1, 0.5)
    noise.add_(scaled, 1, 0.5, scales)
    assert all(map(torch.equal, scaled, map(torch.mul, plain, scales)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_gradients_of_other_types_get_the_same_noise_rounded_once(dtype: torch.dtype) -> None:
    gradient = torch.full((1_000,), 0.25, dtype=dtype)
    Noise(5, {"w": (1_000,)}).add_([gradient], t=0, std=1.0)
    exact = 0.25 + normal(5, "noise", 0, "w", (1_000,)).to(
        torch.promote_types(dtype, torch.float32)
    )
    assert torch.equal(gradient, exact.to(dtype))


@pytest.mark.parametrize("shape", [(3, 4), (300, 500), (2, 70_000)])
def test_the_layout_in_memory_does_not_change_the_noise(shape: tuple[int, int]) -> None:
    """For tensors below a chunk of 65,536 numbers, above it, and with rows longer than a chunk."""
    gradient = torch.zeros(shape[::-1]).t()
    Noise(5, {"w": shape}).add_([gradient], t=0, std=1.0)
    assert torch.equal(gradient, normal(5, "noise", 0, "w", shape))


@pytest.mark.parametrize("odd", [torch.float32, torch.bfloat16])
def test_a_tensor_of_another_type_does_not_change_the_noise_of_the_others(odd: torch.dtype) -> None:
    """Nor does the layout of a tensor change a bit of its sum."""
    gradient, other = torch.rand(8, 3, 5, 5), torch.rand(1_000)
    shapes = {"w": gradient.shape, "v": other.shape}
    plain, mixed = (
        [gradient.clone(), other.clone()],
        [gradient.to(odd, memory_format=torch.channels_last), other.clone()],
    )
    Noise(5, shapes).add_(plain, t=0, std=1.0)
    Noise(5, shapes).add_(mixed, t=0, std=1.0)
    assert torch.equal(plain[1], mixed[1])
    assert odd is not torch.float32 or torch.equal(plain[0], mixed[0])


def test_tensors_in_channels_last_order_get_the_same_noise() -> None:
    gradient = torch.zeros(8, 3, 5, 5).to(memory_format=torch.channels_last)
    Noise(5, {"w": gradient.shape}).add_([gradient], t=0, std=1.0)
    assert torch.equal(gradient, normal(5, "noise", 0, "w", gradient.shape))


@pytest.mark.slow
def test_no_memory_of_the_gradients_size_is_allocated() -> None:
    """The peak memory of the process grows by less than 8 MB for a gradient of 80 MB."""
    program = """
import resource, torch
from gradnoise._noise import Noise
gradient = torch.zeros(20_000_000)
Noise(1, {"small": (100,)}).add_([torch.zeros(100)], 0, 1.0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
Noise(1, {"w": gradient.shape}).add_([gradient], 0, 1.0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    ).stdout
    assert int(printed) < 8_192  # kilobytes
