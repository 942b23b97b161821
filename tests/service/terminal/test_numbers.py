"""Numbers and durations are short."""

import doctest

import pytest

from gradnoise_service.terminal import numbers


def test_examples() -> None:
    result = doctest.testmod(numbers)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (float("nan"), "-"),
        (0.91234567, "0.9123"),
        (12345678.0, "12,345,678"),
        (1e-7, "1e-07"),
        (0.0, "0"),
    ],
)
def test_number_has_four_significant_digits(value: float | None, text: str) -> None:
    assert numbers.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (60, "1 min 0 s"),
        (601, "10 min"),
        (3600, "1 h 0 min"),
        (-3, "0 s"),
    ],
)
def test_duration_has_seconds_only_below_ten_minutes(seconds: float, text: str) -> None:
    assert numbers.duration(seconds) == text
