import pytest

from gradnoise.schedules import annealed
from gradnoise.techniques import TECHNIQUES, schedule, technique


def test_each_technique_makes_its_schedule_from_the_parameters_it_declares() -> None:
    params = {"lr": 0.1, "eta": 0.3, "gamma": 0.55, "std": 0.2}
    noisy = schedule("annealed", params)
    assert noisy is not None
    assert noisy(9) == annealed(0.3, 0.55)(9)
    flat = schedule("constant", params)
    assert flat is not None
    assert flat(9) == 0.2
    assert schedule("none", params) is None


def test_what_a_technique_declares_is_what_it_needs() -> None:
    assert {name: one.required for name, one in TECHNIQUES.items()} == {"none": (), "annealed": ("eta", "gamma"), "constant": ("std",)}


def test_a_missing_parameter_is_named_with_its_range() -> None:
    with pytest.raises(ValueError, match=r"'annealed' needs gamma: a finite number in \[0, inf\)"):
        schedule("annealed", {"eta": 0.1})


def test_an_unknown_technique_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no technique named 'anealed'; legal are none, annealed, constant"):
        technique("anealed")
