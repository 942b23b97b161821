"""Numbers, durations and times as the command line prints them."""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any


def number(value: float | None) -> str:
    """Return a value with four significant digits, `-` for none.

    >>> number(0.91234567), number(12345678.0), number(None)
    ('0.9123', '12,345,678', '-')
    """
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"


def interval(ends: Mapping[str, Any] | None) -> str:
    """Return the interval from `low` to `high`, `-` for none."""
    return "-" if ends is None else f"[{number(ends['low'])}, {number(ends['high'])}]"


def duration(seconds: float) -> str:
    """Return a duration in its one or two largest units.

    >>> duration(42), duration(150), duration(7300)
    ('42 s', '2 min 30 s', '2 h 1 min')
    """
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def local_time(at: datetime) -> str:
    """Return a time in the local time zone, to the minute."""
    return f"{at.astimezone():%Y-%m-%d %H:%M}"


def named_values(values: Mapping[str, object]) -> str:
    """Return named values as `lr=0.1, eta=0.3`."""
    return ", ".join(
        f"{name}={number(value) if isinstance(value, float) else value}"
        for name, value in values.items()
    )
