import math
import multiprocessing
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from gradnoise import noise
from gradnoise._noise import Noise, StackedNoise
from gradnoise._parts import Part, of_box
from gradnoise._processes import NoiseProcess
from gradnoise._streams import normal


def test_noise_is_added_to_each_gradient_by_its_name() -> None:
    """g + std * N(0, 1), where the draw is the stream `noise` of the seed, the step and the
    parameter's name.
    """
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
def test_noise_has_the_variance_it_is_given(std: float) -> None:
    """The sample variance of n draws lies within five of its own standard errors, sqrt(2/(n-1)):
    std is no variance, and nothing is cut.
    """
    n = 100_000
    assert abs(float(drawn(0, std, n).var()) / std**2 - 1) < 5 * math.sqrt(2 / (n - 1))


def test_noise_of_one_step_says_nothing_of_the_next() -> None:
    n = 100_000
    assert abs(
        float(torch.corrcoef(torch.stack([drawn(0, 1.0, n), drawn(1, 1.0, n)]))[0, 1])
    ) < 5 / math.sqrt(n)


@pytest.mark.parametrize("size", [1, 2, 3, 50, 2_501])
def test_noise_depends_on_its_name_alone_and_not_on_what_is_drawn_with_it(size: int) -> None:
    """Bit for bit, whatever the sizes of the others and their order."""
    alone = normal(7, "noise", 5, "w", (size,))
    for others in ({}, {"a": (3,)}, {"a": (1,), "b": (1_001,), "c": (8, 300)}):
        shapes = {**others, "w": (size,), "z": (5,)}
        gradients = {name: torch.zeros(shape) for name, shape in shapes.items()}
        Noise(7, shapes).add_(list(gradients.values()), 5, 1.0)
        assert torch.equal(gradients["w"], alone)


def test_a_longer_parameter_begins_with_the_noise_of_a_shorter_one() -> None:
    assert torch.equal(
        normal(7, "noise", 5, "w", (5_000,))[:2_501], normal(7, "noise", 5, "w", (2_501,))
    )


@pytest.mark.parametrize("whose", ["torch's", "our own"])
def test_the_number_of_threads_changes_nothing(whose: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, from one to many, for tensors large enough to be shared out."""
    if whose == "our own":
        monkeypatch.setattr(noise, "_team", lambda: None)
    shapes = {"a": (700, 1_000), "b": (50,), "c": (300, 7)}
    before = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 5):
            torch.set_num_threads(n)
            results.append([torch.zeros(shape) for shape in shapes.values()])
            Noise(1, shapes).add_(results[-1], 3, 1.0)
    finally:
        torch.set_num_threads(before)
    assert all(
        torch.equal(one, other)
        for more in results[1:]
        for one, other in zip(results[0], more, strict=True)
    )


def test_noise_is_drawn_in_a_forked_process_too() -> None:
    """Threads do not survive a fork, so the child starts its own; those of torch itself, which
    numpy's noise needs, it cannot have anew.
    """
    pytest.importorskip("numba")
    shapes = {"w": (400_000,)}
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        Noise(1, shapes).add_([torch.zeros(400_000)], 0, 1.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer Pythons warn of any fork with threads
            child = multiprocessing.get_context("fork").Process(
                target=Noise(1, shapes).add_, args=([torch.zeros(400_000)], 0, 1.0), daemon=True
            )
            child.start()
        child.join(60)
        assert child.exitcode == 0
    finally:
        torch.set_num_threads(before)


def test_without_numba_the_noise_is_the_same_to_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = {"weight": (300, 301), "bias": (301,), "scale": ()}
    compiled, portable = ([torch.zeros(shape) for shape in shapes.values()] for _ in range(2))
    Noise(5, shapes).add_(compiled, 7, 1.0)
    monkeypatch.setattr(noise, "_compiled", lambda: None)
    Noise(5, shapes).add_(portable, 7, 1.0)
    for one, other in zip(compiled, portable, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-6)


def test_the_noise_of_each_element_may_have_a_scale_of_its_own() -> None:
    scales = [torch.rand(300, 301), torch.rand(7)]
    plain, scaled = ([torch.zeros(300, 301), torch.zeros(7)] for _ in range(2))
    of = Noise(5, {"a": (300, 301), "b": (7,)})
    of.add_(plain, 1, 0.5)
    of.add_(scaled, 1, 0.5, scales)
    assert all(
        torch.equal(one * scale, other)
        for one, scale, other in zip(plain, scales, scaled, strict=True)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_part_of_a_parameter_gets_the_noise_of_its_elements(
    dtype: torch.dtype, transposed: bool
) -> None:
    """Rows 1 and 2 of columns 3 to 6, laid out in memory either way."""
    tensor = torch.zeros(4, 2, dtype=dtype).t() if transposed else torch.zeros(2, 4, dtype=dtype)
    Noise(5, {"w": (2, 4)}, parts={"w": of_box((5, 9), (2, 4), (1, 3))}).add_([tensor], 0, 1.0)
    assert torch.equal(tensor.float(), normal(5, "noise", 0, "w", (5, 9))[1:3, 3:7])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_gradients_of_other_types_get_the_same_noise_rounded_once(dtype: torch.dtype) -> None:
    gradient = torch.full((1_000,), 0.25, dtype=dtype)
    Noise(5, {"w": (1_000,)}).add_([gradient], t=0, std=1.0)
    exact = 0.25 + normal(5, "noise", 0, "w", (1_000,)).to(
        torch.promote_types(dtype, torch.float32)
    )
    assert torch.equal(gradient, exact.to(dtype))


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16])
def test_the_default_type_changes_nothing(default: torch.dtype) -> None:
    """Many set it to float64; what is drawn is float32 all the same."""
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


def test_the_default_device_changes_nothing() -> None:
    expected = normal(5, "noise", 0, "w", (1_000,))
    found = torch.zeros(1_000, dtype=torch.float64)
    with torch.device("meta"):
        assert torch.equal(normal(5, "noise", 0, "w", (1_000,)), expected)
        Noise(5, {"w": (1_000,)}).add_([found], 0, 1.0)
    assert torch.equal(found, expected.double())


@pytest.mark.parametrize("shape", [(3, 4), (300, 500), (2, 70_000)])
def test_the_layout_in_memory_changes_nothing(shape: tuple[int, int]) -> None:
    """Below a chunk of 65,536 numbers, above it, and with rows that are longer than one."""
    gradient = torch.zeros(shape[::-1]).t()
    Noise(5, {"w": shape}).add_([gradient], t=0, std=1.0)
    assert torch.equal(gradient, normal(5, "noise", 0, "w", shape))


@pytest.mark.parametrize("odd", [torch.float32, torch.bfloat16])
def test_a_gradient_of_another_form_changes_nothing_for_the_others(odd: torch.dtype) -> None:
    """Nor does its layout change a bit of its own sum."""
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


def test_images_in_channels_last_order_get_the_same_noise() -> None:
    gradient = torch.zeros(8, 3, 5, 5).to(memory_format=torch.channels_last)
    Noise(5, {"w": gradient.shape}).add_([gradient], t=0, std=1.0)
    assert torch.equal(gradient, normal(5, "noise", 0, "w", gradient.shape))


@pytest.mark.parametrize("gradients", [[torch.zeros(3)], [torch.zeros(3), torch.zeros(5)]])
def test_tensors_of_other_sizes_are_refused(gradients: list[torch.Tensor]) -> None:
    with pytest.raises(ValueError, match=r"tensors must have \[3, 4\] elements, but they have \[3"):
        Noise(5, {"a": (3,), "b": (4,)}).add_(gradients, 0, 1.0)


@pytest.mark.parametrize("start", [2**31 - 5, 2**32 - 5, 2**37 - 5, 2**40 + 3, 2**62])
def test_elements_beyond_any_memory_have_noise_too(
    monkeypatch: pytest.MonkeyPatch, start: int
) -> None:
    """Where counts of elements and of blocks of four pass 32 bits, both kernels still agree, and
    neighbours are no copies.
    """
    part = {"w": Part(np.array([start]), 300)}
    compiled, portable = torch.zeros(300), torch.zeros(300)
    Noise(5, {"w": (300,)}, parts=part).add_([compiled], 7, 1.0)
    monkeypatch.setattr(noise, "_compiled", lambda: None)
    Noise(5, {"w": (300,)}, parts=part).add_([portable], 7, 1.0)
    torch.testing.assert_close(compiled, portable, rtol=0, atol=2e-6)
    assert len(set(compiled.tolist())) == 300


@pytest.mark.parametrize("t", [0, 2**31, 2**32 - 1, 2**32, 2**63 - 1])
def test_any_update_count_has_its_noise(monkeypatch: pytest.MonkeyPatch, t: int) -> None:
    compiled, portable = torch.zeros(300), torch.zeros(300)
    Noise(5, {"w": (300,)}).add_([compiled], t, 1.0)
    monkeypatch.setattr(noise, "_compiled", lambda: None)
    Noise(5, {"w": (300,)}).add_([portable], t, 1.0)
    torch.testing.assert_close(compiled, portable, rtol=0, atol=2e-6)


@pytest.mark.parametrize("t", [-1, 2**63])
def test_update_counts_out_of_range_are_refused(t: int) -> None:
    with pytest.raises(ValueError, match=rf"t must be in \[0, 2\^63\), but got t={t}"):
        Noise(5, {"w": (3,)}).add_([torch.zeros(3)], t, 1.0)


@pytest.mark.parametrize("std", [-0.1, math.nan, math.inf])
def test_a_schedule_that_gives_no_standard_deviation_is_refused(std: float) -> None:
    with pytest.raises(ValueError, match=rf"at least 0 and finite, but gave {std} at t=3"):
        NoiseProcess.of(lambda t: std if t == 3 else 1.0).terms(3)


def test_a_schedule_may_give_a_tensor_or_a_number_of_numpy() -> None:
    for std in (torch.tensor(0.5), np.float32(0.5), np.float64(0.5)):
        assert NoiseProcess.of(lambda _, std=std: std).terms(3) == ((3, 0.5),)  # type: ignore[misc]


def test_many_threads_at_once_get_each_their_own_noise() -> None:
    """Models trained side by side in one process share the threads that draw."""
    names = [f"w{i}" for i in range(6)]
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        expected = [normal(1, "noise", 4, name, (300_000,)) for name in names]
        with ThreadPoolExecutor(6) as threads:
            found = list(
                threads.map(lambda name: normal(1, "noise", 4, name, (300_000,)), names * 3)
            )
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(found, expected * 3, strict=True))


def test_no_memory_of_the_gradients_size_is_taken() -> None:
    """80 MB of gradient get their noise with less than 8 MB on top: the peak of the process is read
    before and after.
    """
    program = """
import resource, torch
from gradnoise._processes import NoiseProcess, Noise
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_each_row_of_a_stack_gets_what_its_own_noise_would_give(dtype: torch.dtype) -> None:
    """Bit for bit, whatever the other rows get; where the standard deviation is 0, nothing."""
    shapes = {"weight": (50, 41), "empty": (0,), "bias": (3,)}
    members = [
        Noise(seed, shapes, purpose)
        for seed, purpose in ((1, "noise"), (2, "noise"), (1, "weight_noise"), (7, "noise"))
    ]
    rows, ts, stds = (
        torch.full((4, 2_053), 0.25, dtype=dtype),
        [5, 0, 2**40, 3],
        [0.5, 1.0, 2.0, 0.0],
    )
    stacked = StackedNoise(members, rows)
    stacked.add_(ts, stds)
    for row, member, t, std in zip(rows, members, ts, stds, strict=True):
        expected = [torch.full(shape, 0.25, dtype=dtype) for shape in shapes.values()]
        member.add_(expected, t, std)
        assert torch.equal(row, torch.cat([one.reshape(-1) for one in expected]))
    assert (rows[3] == 0.25).all()
