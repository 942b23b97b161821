import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradnoise.schedules import annealed, constant


@pytest.mark.parametrize("eta", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("gamma", [0.0, 0.55, 2.0])
@pytest.mark.parametrize("t", [0, 1, 100, 10_000])
def test_annealed_is_the_square_root_of_the_papers_variance(
    eta: float, gamma: float, t: int
) -> None:
    """eta is a variance: the standard deviation is sqrt(eta / (1 + t)^gamma), in float64 to a few
    units in the last place.
    """
    assert annealed(eta, gamma)(t) == pytest.approx(math.sqrt(eta / (1 + t) ** gamma), rel=1e-14)


@given(eta=st.floats(1e-100, 1e100), gamma=st.floats(0.0, 4.0), t=st.integers(0, 10**12))
def test_annealed_is_what_optax_adds(eta: float, gamma: float, t: int) -> None:
    """std = sqrt(eta / count^gamma), count from 1, the closed form of optax's `add_noise`.

    Each side rounds four times or less, each time by 2^-53 of the value or, in a power, by twice
    that: 2^-49 bounds the difference.
    """
    count = t + 1
    assert annealed(eta, gamma)(t) == pytest.approx(
        math.sqrt(eta / count**gamma), rel=2**-49, abs=0.0
    )


def test_annealed_gives_the_papers_values() -> None:
    """The standard deviations at the first and the thousand-and-first update, for each eta of the
    paper.
    """
    assert [round(annealed(eta, 0.55)(0), 3) for eta in (0.01, 0.3, 1.0)] == [0.1, 0.548, 1.0]
    assert [round(annealed(eta, 0.55)(1_000), 3) for eta in (0.01, 0.3, 1.0)] == [
        0.015,
        0.082,
        0.15,
    ]


def test_noise_of_no_variance_stays_none() -> None:
    assert annealed(0.0, 0.55)(3) == 0.0
    assert constant(0.0)(3) == 0.0


def test_a_decay_beyond_float_range_ends_at_zero() -> None:
    assert annealed(1.0, 1e6)(10) == 0.0


@pytest.mark.parametrize("bad", [-1e-9, math.inf, math.nan])
def test_illegal_values_are_named(bad: float) -> None:
    with pytest.raises(ValueError, match=rf"eta must be at least 0 and finite, but got eta={bad}"):
        annealed(bad, 0.55)
    with pytest.raises(
        ValueError, match=rf"gamma must be at least 0 and finite, but got gamma={bad}"
    ):
        annealed(1.0, bad)
    with pytest.raises(ValueError, match=rf"std must be at least 0 and finite, but got std={bad}"):
        constant(bad)
