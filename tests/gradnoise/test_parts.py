import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gradnoise._parts import of_box, whole

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
