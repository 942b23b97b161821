"""Numbers, durations and moments as text: edge cases in addition to the docstrings' examples."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest

from gradnoise_service.report.words.numbers import duration, moment, number, percent, signed


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (9999.4, "9999"),
        (10_000.0, "10,000"),
        (-1_029.6, "−1030"),
        (999_999.0, "999,999"),
        (1e6, "1e+06"),
        (1e-7, "1e-07"),
        (-3, "−3"),
        (50_000, "50000"),
        (float("inf"), "–"),
    ],
)
def test_a_number_has_four_significant_digits(value: float, expected: str) -> None:
    assert number(value) == expected


def test_a_difference_has_its_sign() -> None:
    assert [signed(x) for x in (12_345.6, -1e-9, 3)] == ["+12,346", "−1e-09", "+3"]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0, "0 s"),
        (-1.0, "0 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.5, "1 min 0 s"),
        (3599.6, "1 h 0 min"),
        (363_600.0, "101 h 0 min"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_a_moment_is_shown_in_a_time_zone_with_its_name() -> None:
    at = datetime(2026, 1, 2, 23, 30, tzinfo=UTC)
    assert moment(at, timezone(timedelta(hours=1), "CET")) == "2026-01-03 00:30 CET"
    assert moment(at, None).startswith("2026-01-0")


def test_a_missing_share_is_a_dash() -> None:
    assert (percent(None), percent(0.0805)) == ("–", "8.05 %")


def test_the_module_loads_neither_numpy_nor_a_template_engine() -> None:
    heavy = {"numpy", "scipy", "matplotlib", "jinja2", "yaml"}
    code = (
        "import sys, gradnoise_service.report.words.numbers; "
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
