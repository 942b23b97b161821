import math

import numpy as np
import pytest
import torch

from gradnoise._kernels import backends
from gradnoise._noise import Noise
from gradnoise._parts import Part, of_box
from gradnoise._streams import normal


def test_noise_is_added_to_each_gradient_by_its_name() -> None:
    """g + std * N(0, 1), drawn from the stream `noise` of the seed, t and the parameter's name."""
    shapes = {"weight": (3, 4), "bias": (3,), "scale": ()}
    gradients = [torch.full(shape, 2.0) for shape in shapes.values()]
    Noise(5, shapes).add_(gradients, t=7, std=0.5)
    for (name, shape), gradient in zip(shapes.items(), gradients, strict=True):
        torch.testing.assert_close(gradient, 2.0 + 0.5 * normal(5, "noise", 7, name, shape))


def drawn(t: int, std: float, n: int = 100_000) -> torch.Tensor:
    gradient = torch.zeros(n)
    Noise(5, {"w": (n,)}).add_([gradient], t, std)
    return gradient.double()


@pytest.mark.parametrize("std", [0.1, 1.0])
def test_noise_has_the_given_standard_deviation(std: float) -> None:
    """The sample variance of n draws lies within five of its standard errors, sqrt(2/(n-1))."""
    n = 100_000
    assert abs(float(drawn(0, std, n).var()) / std**2 - 1) < 5 * math.sqrt(2 / (n - 1))


def test_the_noise_of_successive_updates_is_uncorrelated() -> None:
    n = 100_000
    assert abs(
        float(torch.corrcoef(torch.stack([drawn(0, 1.0, n), drawn(1, 1.0, n)]))[0, 1])
    ) < 5 / math.sqrt(n)


@pytest.mark.parametrize("size", [1, 2, 3, 50, 2_501])
def test_the_noise_of_a_parameter_does_not_depend_on_the_others(size: int) -> None:
    """To the bit, for any number, size and order of the others."""
    alone = normal(7, "noise", 5, "w", (size,))
    for others in ({}, {"a": (3,)}, {"a": (1,), "b": (1_001,), "c": (8, 300)}):
        shapes = {**others, "w": (size,), "z": (5,)}
        gradients = {name: torch.zeros(shape) for name, shape in shapes.items()}
        Noise(7, shapes).add_(list(gradients.values()), 5, 1.0)
        assert torch.equal(gradients["w"], alone)


def test_a_longer_parameter_starts_with_the_noise_of_a_shorter_parameter() -> None:
    assert torch.equal(
        normal(7, "noise", 5, "w", (5_000,))[:2_501], normal(7, "noise", 5, "w", (2_501,))
    )


def test_without_numba_the_noise_is_the_same_to_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = {"weight": (300, 301), "bias": (301,), "scale": ()}
    compiled, portable = ([torch.zeros(shape) for shape in shapes.values()] for _ in range(2))
    Noise(5, shapes).add_(compiled, 7, 1.0)
    monkeypatch.setattr(backends, "native", lambda: None)
    Noise(5, shapes).add_(portable, 7, 1.0)
    for pair in zip(compiled, portable, strict=True):
        torch.testing.assert_close(*pair, rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_part_of_a_parameter_gets_the_noise_of_its_elements(
    dtype: torch.dtype, transposed: bool
) -> None:
    """Rows 1 and 2 of columns 3 to 6, in row-major and in column-major order."""
    tensor = torch.zeros(4, 2, dtype=dtype).t() if transposed else torch.zeros(2, 4, dtype=dtype)
    Noise(5, {"w": (2, 4)}, parts={"w": of_box((5, 9), (2, 4), (1, 3))}).add_([tensor], 0, 1.0)
    assert torch.equal(tensor.float(), normal(5, "noise", 0, "w", (5, 9))[1:3, 3:7])


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16])
def test_the_default_type_does_not_change_the_noise(default: torch.dtype) -> None:
    """Draws are float32 under any default type."""
    expected = normal(5, "noise", 0, "w", (1_000,))
    found = torch.zeros(1_000, dtype=torch.float64)
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        assert torch.equal(normal(5, "noise", 0, "w", (1_000,)), expected)
        Noise(5, {"w": (1_000,)}).add_([found], 0, 1.0)
    finally:
        torch.set_default_dtype(before)
    assert torch.equal(found, expected.double())


def test_the_default_device_does_not_change_the_noise() -> None:
    expected = normal(5, "noise", 0, "w", (1_000,))
    found = torch.zeros(1_000, dtype=torch.float64)
    with torch.device("meta"):
        assert torch.equal(normal(5, "noise", 0, "w", (1_000,)), expected)
        Noise(5, {"w": (1_000,)}).add_([found], 0, 1.0)
    assert torch.equal(found, expected.double())


@pytest.mark.parametrize("gradients", [[torch.zeros(3)], [torch.zeros(3), torch.zeros(5)]])
def test_tensors_of_other_sizes_raise_an_error(gradients: list[torch.Tensor]) -> None:
    with pytest.raises(ValueError, match=r"tensors must have \[3, 4\] elements, but they have \[3"):
        Noise(5, {"a": (3,), "b": (4,)}).add_(gradients, 0, 1.0)


@pytest.mark.parametrize("start", [2**31 - 5, 2**32 - 5, 2**37 - 5, 2**40 + 3, 2**62])
def test_elements_with_indices_beyond_32_bits_have_noise(
    monkeypatch: pytest.MonkeyPatch, start: int
) -> None:
    """Both kernels agree, and no two neighbours are equal, where the indices of elements and of
    blocks pass 32 bits.
    """
    part = {"w": Part(np.array([start]), 300)}
    compiled, portable = torch.zeros(300), torch.zeros(300)
    Noise(5, {"w": (300,)}, parts=part).add_([compiled], 7, 1.0)
    monkeypatch.setattr(backends, "native", lambda: None)
    Noise(5, {"w": (300,)}, parts=part).add_([portable], 7, 1.0)
    torch.testing.assert_close(compiled, portable, rtol=0, atol=2e-6)
    assert len(set(compiled.tolist())) == 300


@pytest.mark.parametrize("t", [0, 2**31, 2**32 - 1, 2**32, 2**63 - 1])
def test_kernels_agree_at_any_update_count(monkeypatch: pytest.MonkeyPatch, t: int) -> None:
    compiled, portable = torch.zeros(300), torch.zeros(300)
    Noise(5, {"w": (300,)}).add_([compiled], t, 1.0)
    monkeypatch.setattr(backends, "native", lambda: None)
    Noise(5, {"w": (300,)}).add_([portable], t, 1.0)
    torch.testing.assert_close(compiled, portable, rtol=0, atol=2e-6)


@pytest.mark.parametrize("t", [-1, 2**63])
def test_update_counts_out_of_range_raise_an_error(t: int) -> None:
    with pytest.raises(ValueError, match=rf"t must be in \[0, 2\^63\), but got t={t}"):
        Noise(5, {"w": (3,)}).add_([torch.zeros(3)], t, 1.0)
