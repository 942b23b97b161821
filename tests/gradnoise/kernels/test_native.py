import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradnoise._kernels import portable

native = pytest.importorskip("gradnoise._kernels.native")

NO_STATES, NO_SQUARES = (np.empty(0, dtype=np.int64), np.zeros(4)), np.empty(0)

Runs = list[tuple[int, int, int]]
runs = st.lists(
    st.tuples(st.integers(0, 2**45), st.integers(0, 5_000), st.integers(0, 2**64 - 1)), max_size=5
)


def add(
    values: list[np.ndarray],
    of: Runs,
    t: int,
    std: float,
    n_shares: int = 1,
    squares: np.ndarray = NO_SQUARES,
) -> None:
    arrays = [
        np.array(column, dtype=np.int64)
        for column in zip(*((start, size) for start, size, _ in of), strict=True)
    ]
    starts, sizes = arrays or [np.empty(0, dtype=np.int64)] * 2
    addresses = np.array([array.ctypes.data for array in values], dtype=np.int64)
    keys = np.array([key for _, _, key in of], dtype=np.uint64)
    columns = (addresses, starts, sizes, keys, np.array([t]), np.array([std]))
    job = native.new_job(*columns, *NO_STATES, squares, n_shares=n_shares)
    native.KERNEL.run(job.ctypes.data)


@settings(max_examples=60, deadline=None)
@given(of=runs, t=st.integers(0, 2**60), n_shares=st.integers(1, 7))
def test_it_equals_the_definition_to_rounding(of: Runs, t: int, n_shares: int) -> None:
    """For any runs, starts in the streams and numbers of shares; memory beside the runs stays
    unchanged.

    The bound: values up to 6.7, each with a few float32 roundings (6e-8 of the value each).
    """
    room = [np.full(size + 2, 0.25, dtype=np.float32) for _, size, _ in of]
    add([array[1:] for array in room], of, t, 0.5, n_shares)
    for array, (start, size, key) in zip(room, of, strict=True):
        expected = np.full(size, 0.25, dtype=np.float32)
        portable.add(expected, start, key, t, 0.5)
        np.testing.assert_allclose(array[1:-1], expected, rtol=0, atol=2e-6)
        assert array[0] == array[-1] == 0.25


def test_all_shares_together_equal_a_single_share_to_the_bit() -> None:
    of = [(0, 100_000, 1), (77, 50, 2), (2_000, 3_000, 3)]
    alone = [np.zeros(size, dtype=np.float32) for _, size, _ in of]
    shared = [np.zeros(size, dtype=np.float32) for _, size, _ in of]
    add(alone, of, 4, 1.0)
    add(shared, of, 4, 1.0, n_shares=5)
    assert all(map(np.array_equal, alone, shared))


@pytest.mark.parametrize("std", [0.0, 1.0])
def test_squares_are_those_before_the_noise_for_any_shares(std: float) -> None:
    """To the bit for any number of shares.

    In a block of 256 numbers each float32 square and sum is rounded by at most 6e-8 of the total.
    The roundings are independent, so the root of 256 times that is a bound on their effect.
    """
    of = [(0, 100_000, 1), (77, 50, 2), (2_000, 3_000, 3), (5, 0, 4)]
    starts, sizes = (np.array([run[k] for run in of]) for k in range(2))
    found = []
    for n_shares in (1, 5):
        values = [np.random.default_rng(k).normal(size=run[1]) for k, run in enumerate(of)]
        arrays = [array.astype(np.float32) for array in values]
        before = np.concatenate(arrays).astype(np.float64)
        squares = np.full(native.n_chunks(starts, sizes), np.nan)
        add(arrays, of, 4, std, n_shares, squares)
        assert len(squares) == 49 + 1 + 3
        assert squares.sum() == pytest.approx(before @ before, rel=16 * 6e-8)
        assert np.array_equal(np.concatenate(arrays), before) == (std == 0)
        found.append(squares)
    assert np.array_equal(*found)


def test_extreme_words_give_finite_numbers() -> None:
    """Over many blocks all draws are finite and below sqrt(2 ln 2^32)."""
    values = np.zeros(10_000_000, dtype=np.float32)
    add([values], [(0, len(values), 9)], 0, 1.0)
    assert np.isfinite(values).all()
    assert np.abs(values).max() < 6.67
