import itertools

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradnoise._noise.memory import are_apart, overlapping, overlaps_itself

BYTES = 64


def occupied(tensor: torch.Tensor) -> list[int]:
    """Return the address of every element."""
    ranges = [range(size) for size in tensor.shape]
    return [
        tensor.data_ptr() + tensor.element_size() * sum(map(int.__mul__, index, tensor.stride()))
        for index in itertools.product(*ranges)
    ]


views = st.tuples(
    st.lists(st.integers(0, 3), min_size=0, max_size=3),
    st.lists(st.integers(0, 6), min_size=3, max_size=3),
    st.integers(0, 10),
)


@given(view=views)
def test_a_tensor_without_overlap_has_its_own_memory_for_each_element(
    view: tuple[list[int], list[int], int],
) -> None:
    shape, strides, start = view
    tensor = torch.zeros(BYTES).as_strided(shape, strides[: len(shape)], start)
    addresses = occupied(tensor)
    if not overlaps_itself(tensor):
        assert len(set(addresses)) == len(addresses)


def test_dense_and_sliced_tensors_do_not_overlap_themselves() -> None:
    square = torch.zeros(4, 6)
    for tensor in (square, square.t(), square[:, ::2], square[1:, 2:4].t(), torch.zeros(())):
        assert not overlaps_itself(tensor)
    for tensor in (torch.zeros(()).expand(3), square[:1].expand(4, 6)):
        assert overlaps_itself(tensor)


@given(starts=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)), max_size=6))
def test_without_those_found_no_two_tensors_share_memory(starts: list[tuple[int, int]]) -> None:
    memory = torch.zeros(BYTES)
    tensors = [memory[start : start + size] for start, size in starts]
    found = overlapping(tensors)
    kept = [
        address
        for i, tensor in enumerate(tensors)
        if i not in found
        for address in occupied(tensor)
    ]
    assert len(set(kept)) == len(kept)
    addresses = np.array([tensor.data_ptr() for tensor in tensors], dtype=np.int64)
    n_bytes = np.array([4 * tensor.numel() for tensor in tensors], dtype=np.int64)
    if all(size for _, size in starts):
        assert are_apart(addresses, n_bytes) == (not found)
    elif are_apart(addresses, n_bytes):
        assert not found
