import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradnoise.parts import of_box, of_shard, of_sparse, whole

axes = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 3)), max_size=4)


@given(axes=axes)
def test_a_box_holds_the_elements_that_slicing_takes(axes: list[tuple[int, int, int]]) -> None:
    """Of a tensor of consecutive numbers, the runs are what a slice along every axis has, in its
    order.
    """
    offsets, local = [before for before, _, _ in axes], [size for _, size, _ in axes]
    shape = [before + size + after for before, size, after in axes]
    part = of_box(shape, local, offsets)
    elements = (part.starts[:, None] + np.arange(part.size)).reshape(-1)
    numbers = np.arange(math.prod(shape)).reshape(shape)
    taken = numbers[
        tuple(slice(before, before + size) for before, size in zip(offsets, local, strict=True))
    ]
    assert elements.tolist() == taken.reshape(-1).tolist()


def test_a_box_of_whole_rows_is_one_run() -> None:
    assert len(of_box((100, 7, 3), (20, 7, 3), (40, 0, 0)).starts) == 1
    assert whole((3, 4)).size == 12


def test_a_sparse_gradient_holds_the_rows_that_were_looked_up() -> None:
    table = torch.nn.Embedding(10, 3, sparse=True)
    table(torch.tensor([7, 2, 7])).sum().backward()
    # it has one
    gradient, values, part = of_sparse("weight", table.weight.grad)  # type: ignore[arg-type]
    assert part.size == 3
    assert part.starts.tolist() == [6, 21]
    assert values.tolist() == [[1.0] * 3, [2.0] * 3]
    values.zero_()
    assert not gradient.to_dense().any()


def test_a_sparse_gradient_without_rows_holds_one_run_of_nothing() -> None:
    """As a batch of padding alone leaves it: every tensor has a run, so that the runs of many
    tensors can be told apart.
    """
    table = torch.nn.Embedding(10, 3, padding_idx=0, sparse=True)
    table(torch.tensor([0, 0])).sum().backward()
    _, values, part = of_sparse("weight", table.weight.grad)  # type: ignore[arg-type]
    assert values.numel() == part.size == 0
    assert part.starts.tolist() == of_box((4, 3), (0, 3), (4, 0)).starts.tolist() == [0]


def test_a_complex_shard_is_refused() -> None:
    """Adding real numbers to it would leave its imaginary part without noise, and a word."""
    shard = SimpleNamespace(
        is_complex=lambda: True, placements=("Shard(0)",), dtype=torch.complex64
    )
    with pytest.raises(TypeError, match=r"the gradient of wave is placed as .*complex64"):
        of_shard("wave", shard)
