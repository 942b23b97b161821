import numpy as np
import pytest

compiled = pytest.importorskip("gradnoise._kernels.compiled")
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
        compiled.add_all(*runs(*alone), np.array([t]), np.array([0.5]), *NEITHER, 1, 0)
        openmp.add_all_on(
            n_threads, *runs(*shared), np.array([t]), np.array([0.5]), *NEITHER, N_SHARES
        )
    assert all(map(np.array_equal, alone, shared))
