"""Ranges and choices: legal forms, and the values that they hold."""

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from gradnoise_service.domain.space import Choices, Range, Space, as_json, is_number, points
from gradnoise_service.search.samplers import distribution


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"low": 0.3, "high": 0.003}, "low must be below high"),
        ({"low": 0.3, "high": 0.3}, "low must be below high"),
        ({"low": 0.0, "high": 0.3, "log": True}, "low above 0"),
        ({"low": 0.1, "high": 0.3, "log": True, "step": 0.1}, "exclude each other"),
        ({"low": 0.0, "high": 1.0, "step": 0.3}, "whole number of steps"),
        ({"low": 0.1, "high": 0.1 + 0.2, "step": 0.1}, "high=0.30000000000000004"),
        ({"low": 1.5, "high": 3, "integer": True}, "whole numbers"),
        ({"low": 0.0, "high": 1e99, "step": 1e-99}, "at most 2"),
        ({"low": False, "high": 3}, "valid number"),
        ({"low": 0.1, "high": float("inf")}, "finite"),
        ({"low": 0.1, "high": 0.3, "lg": True}, "lg"),
    ],
)
def test_an_illegal_range_is_rejected(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Range.model_validate(values)


@given(
    low=st.integers(-1000, 1000),
    step=st.integers(1, 1000),
    n_steps=st.integers(1, 20),
    digits=st.integers(0, 12),
)
def test_points_of_a_stepped_range_are_its_decimal_numbers(
    low: int, step: int, n_steps: int, digits: int
) -> None:
    """They never exceed high, although low + i * step in floats does: 0.3 + 6 * 0.1 > 0.9.

    Optuna accepts every point.
    """
    decimals = [f"{low + i * step}e-{digits}" for i in range(n_steps + 1)]
    entry = Range(low=float(decimals[0]), high=float(decimals[-1]), step=float(f"{step}e-{digits}"))
    assert list(entry.points()) == [float(decimal) for decimal in decimals]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        searched = distribution(entry)
        assert all(searched._contains(searched.to_internal_repr(x)) for x in entry.points())


def test_points_of_a_stepped_range_reach_both_ends() -> None:
    assert list(Range(low=0.3, high=0.9, step=0.1).points()) == [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert list(Range(low=2, high=6, step=2, integer=True).points()) == [2, 4, 6]
    assert list(Range(low=2, high=4, integer=True).points()) == [2, 3, 4]
    assert Range(low=0.1, high=0.3).n_points is None
    assert Range(low=0.0, high=1e15, step=1.0).n_points == 10**15 + 1  # computed without a list
    with pytest.raises(ValueError, match="give it a step"):
        list(Range(low=0.1, high=0.3).points())


def test_choices_are_unique() -> None:
    assert Choices(choices=["a", 1, 0.5]).n_points == 3
    with pytest.raises(ValidationError, match="unique"):
        Choices(choices=[1, 1])


def test_entries_as_values_and_as_json() -> None:
    assert points(0.5) == [0.5]
    assert points(Choices(choices=["a", "b"])) == ["a", "b"]
    assert as_json("relu") == "relu"
    assert as_json(Range(low=0.1, high=1.0, log=True)) == {"low": 0.1, "high": 1.0, "log": True}


def test_values_of_any_json_type_but_lists_keep_their_type() -> None:
    """true is no 1, 1 no 1.0."""
    values = {"a": True, "b": None, "c": "mixup", "d": 1, "e": 0.5, "f": {"choices": [False, None]}}
    space = TypeAdapter(Space).validate_python(values)
    again = TypeAdapter(Space).validate_json(TypeAdapter(Space).dump_json(space))
    for read in (space, again):
        assert {name: (as_json(entry), type(entry)) for name, entry in read.items()} == {
            name: (value, Choices if name == "f" else type(value)) for name, value in values.items()
        }
    assert distribution(Choices(choices=[True, None, "on", 2])).choices == (True, None, "on", 2)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, True), (0.5, True), (True, False), (None, False), ("1", False)],
)
def test_only_numbers_are_numbers(value: object, expected: bool) -> None:
    assert is_number(value) == expected
