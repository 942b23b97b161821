import numpy as np
import pytest

native = pytest.importorskip("gradnoise._kernels.native")
openmp = pytest.importorskip("gradnoise._kernels.openmp")

N_SHARES = 37
NEITHER = (np.empty(0, dtype=np.int64), np.zeros(4), np.empty(0))  # states, rule, squares


def runs(*values: np.ndarray) -> tuple[np.ndarray, ...]:
    addresses = np.array([array.ctypes.data for array in values], dtype=np.int64)
    starts, sizes = (
        np.arange(len(values)) * 77,
        np.array([len(array) for array in values], dtype=np.int64),
    )
    return addresses, starts, sizes, np.arange(5, 5 + len(values), dtype=np.uint64)


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_the_threads_do_each_share_once(n_threads: int) -> None:
    """In many rounds: a share done twice or never would double or omit its noise."""
    alone, shared = (
        [np.zeros(size, dtype=np.float32) for size in (300_000, 50, 40_001)] for _ in range(2)
    )
    for t in range(30):
        numbers = (np.array([t]), np.array([0.5]), *NEITHER)
        of_alone, of_shared = runs(*alone), runs(*shared)
        single = native.new_job(*of_alone, *numbers, n_shares=1)
        native.KERNEL.run(single.ctypes.data)
        many = native.new_job(*of_shared, *numbers, n_shares=N_SHARES)
        openmp.run(native.KERNEL, many.ctypes.data, n_threads)
    assert all(map(np.array_equal, alone, shared))
