import pytest
import torch

from gradnoise._noise import Noise, StackedNoise


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_each_row_of_a_stack_gets_the_noise_of_its_member(dtype: torch.dtype) -> None:
    """To the bit; a row whose standard deviation is 0 stays unchanged."""
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
        assert torch.equal(row, torch.cat([tensor.reshape(-1) for tensor in expected]))
    assert (rows[3] == 0.25).all()
