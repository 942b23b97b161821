import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradnoise._kernels import portable

compiled = pytest.importorskip("gradnoise._kernels.compiled")

Runs = list[tuple[int, int, int]]
runs = st.lists(
    st.tuples(st.integers(0, 2**45), st.integers(0, 5_000), st.integers(0, 2**64 - 1)), max_size=5
)


def add(values: list[np.ndarray], of: Runs, t: int, std: float, n_shares: int = 1) -> None:
    arrays = [
        np.array(column, dtype=np.int64)
        for column in zip(*((start, size) for start, size, _ in of), strict=True)
    ]
    starts, sizes = arrays or [np.empty(0, dtype=np.int64)] * 2
    addresses = np.array([own.ctypes.data for own in values], dtype=np.int64)
    keys = np.array([key for _, _, key in of], dtype=np.uint64)
    for share in range(n_shares):
        compiled.add_all(
            addresses, starts, sizes, keys, np.array([t]), np.array([std]), n_shares, share
        )


@settings(max_examples=60, deadline=None)
@given(of=runs, t=st.integers(0, 2**60), n_shares=st.integers(1, 7))
def test_it_is_the_definition_to_rounding(of: Runs, t: int, n_shares: int) -> None:
    """Whatever the runs, their places in the streams and the shares that they are dealt into; and
    it touches nothing beside them.

    The bound: numbers up to 6.7, each from a few roundings of float32 (6e-8 of the value each).
    """
    room = [np.full(size + 2, 0.25, dtype=np.float32) for _, size, _ in of]
    add([own[1:] for own in room], of, t, 0.5, n_shares)
    for own, (start, size, key) in zip(room, of, strict=True):
        expected = np.full(size, 0.25, dtype=np.float32)
        portable.add(expected, start, key, t, 0.5)
        np.testing.assert_allclose(own[1:-1], expected, rtol=0, atol=2e-6)
        assert own[0] == own[-1] == 0.25


def test_shares_are_the_whole_bit_for_bit() -> None:
    of = [(0, 100_000, 1), (77, 50, 2), (2_000, 3_000, 3)]
    alone = [np.zeros(size, dtype=np.float32) for _, size, _ in of]
    shared = [np.zeros(size, dtype=np.float32) for _, size, _ in of]
    add(alone, of, 4, 1.0)
    add(shared, of, 4, 1.0, n_shares=5)
    assert all(np.array_equal(one, other) for one, other in zip(alone, shared, strict=True))


def test_extreme_words_give_finite_numbers() -> None:
    """Both ends of the radius, over many blocks: none is infinite or no number, and the largest
    stays below sqrt(2 ln 2^32).
    """
    values = np.zeros(10_000_000, dtype=np.float32)
    add([values], [(0, len(values), 9)], 0, 1.0)
    assert np.isfinite(values).all()
    assert np.abs(values).max() < 6.67


def test_it_compiles_where_no_machine_code_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """numba raises when it finds no place to write to: neither beside the package nor in a home."""

    def njit(cache: bool = False, **_: Any) -> Callable[..., Any]:
        def decorate(function: Any) -> Any:
            if cache:
                raise RuntimeError("cannot cache function: no locator available")
            return function

        return decorate

    monkeypatch.setattr(compiled, "njit", njit)
    assert compiled._compile()(abs) is abs


def test_it_is_not_used_where_numba_does_not_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when somebody debugs other code of numba's; the portable kernel then takes over, as where
    numba is missing.
    """
    monkeypatch.setattr(compiled.config, "DISABLE_JIT", 1)
    with pytest.raises(ImportError, match="NUMBA_DISABLE_JIT"):
        importlib.reload(compiled)
