import numpy as np
import pytest

compiled = pytest.importorskip("gradnoise._kernels.compiled")
team = pytest.importorskip("gradnoise._kernels.team")

N_SHARES = 37


def runs(*values: np.ndarray) -> tuple[np.ndarray, ...]:
    addresses = np.array([own.ctypes.data for own in values], dtype=np.int64)
    starts, sizes = (
        np.arange(len(values)) * 77,
        np.array([len(own) for own in values], dtype=np.int64),
    )
    return addresses, starts, sizes, np.arange(5, 5 + len(values), dtype=np.uint64)


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_a_team_does_each_share_once(n_threads: int) -> None:
    """Many rounds: a share done twice or left out would show as noise that is doubled or missing."""
    alone, shared = (
        [np.zeros(size, dtype=np.float32) for size in (300_000, 50, 40_001)] for _ in range(2)
    )
    for t in range(30):
        compiled.add_all(*runs(*alone), np.array([t]), np.array([0.5]), 1, 0)
        assert team.add_all_on(n_threads, *runs(*shared), np.array([t]), np.array([0.5]), N_SHARES)
    assert all(np.array_equal(one, other) for one, other in zip(alone, shared, strict=True))


def test_a_team_refuses_runs_that_begin_at_one_address() -> None:
    values = np.zeros(1_000, dtype=np.float32)
    assert not team.add_all_on(2, *runs(values, values), np.array([0]), np.array([1.0]), N_SHARES)
    assert not values.any()
