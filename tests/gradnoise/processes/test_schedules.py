import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradnoise._processes.schedules import AnnealedStd, ConstantStd


@pytest.mark.parametrize("eta", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("gamma", [0.0, 0.55, 2.0])
@pytest.mark.parametrize("t", [0, 1, 100, 10_000])
def test_annealed_std_is_the_square_root_of_the_papers_variance(
    eta: float, gamma: float, t: int
) -> None:
    """eta is a variance: the standard deviation is sqrt(eta / (1 + t)^gamma), in float64 to a few
    units in the last place.
    """
    expected = math.sqrt(eta / (1 + t) ** gamma)
    assert AnnealedStd(eta, gamma)(t) == pytest.approx(expected, rel=1e-14)


@given(eta=st.floats(1e-100, 1e100), gamma=st.floats(0.0, 4.0), t=st.integers(0, 10**12))
def test_annealed_std_equals_that_of_optax(eta: float, gamma: float, t: int) -> None:
    """std = sqrt(eta / count^gamma), count from 1, the closed form of optax's `add_noise`.

    Both sides round at most four times, each time by 2^-53 of the value or, in a power, by twice
    that: 2^-49 bounds the difference.
    """
    count = t + 1
    expected = math.sqrt(eta / count**gamma)
    assert AnnealedStd(eta, gamma)(t) == pytest.approx(expected, rel=2**-49, abs=0.0)


def test_annealed_std_has_the_papers_values() -> None:
    """The standard deviations of the updates t = 0 and t = 1,000, for each eta of the paper."""
    etas = (0.01, 0.3, 1.0)
    assert [round(AnnealedStd(eta, 0.55)(0), 3) for eta in etas] == [0.1, 0.548, 1.0]
    assert [round(AnnealedStd(eta, 0.55)(1_000), 3) for eta in etas] == [0.015, 0.082, 0.15]


def test_noise_without_variance_has_std_zero() -> None:
    assert AnnealedStd(0.0, 0.55)(3) == 0.0
    assert ConstantStd(0.0)(3) == 0.0


def test_a_decay_below_the_smallest_float_is_zero() -> None:
    assert AnnealedStd(1.0, 1e6)(10) == 0.0


@pytest.mark.parametrize("bad", [-1e-9, math.inf, math.nan])
def test_illegal_values_raise_an_error_that_names_them(bad: float) -> None:
    with pytest.raises(ValueError, match=rf"eta must be at least 0 and finite, but got eta={bad}"):
        AnnealedStd(bad, 0.55)
    with pytest.raises(
        ValueError, match=rf"gamma must be at least 0 and finite, but got gamma={bad}"
    ):
        AnnealedStd(1.0, bad)
    with pytest.raises(ValueError, match=rf"std must be at least 0 and finite, but got std={bad}"):
        ConstantStd(bad)
