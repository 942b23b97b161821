"""Numbers, durations and times as the pages show them."""

import doctest
from datetime import UTC, datetime

import pytest

from gradnoise_service.api import reports
from gradnoise_service.web import login, templating


@pytest.mark.parametrize("module", [templating, login, reports])
def test_examples(module: object) -> None:
    """The doctests pass."""
    outcome = doctest.testmod(module)  # type: ignore[arg-type]
    assert outcome.attempted > 0
    assert outcome.failed == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.6, "1 min 0 s"), (3599.7, "1 h 0 min"), (86400, "24 h 0 min")],
)
def test_duration_never_shows_sixty(seconds: float, text: str) -> None:
    assert templating.duration(seconds) == text


def test_times_are_utc() -> None:
    assert templating.utc_time(datetime(2026, 1, 2, 3, 4, tzinfo=UTC)) == "2026-01-02 03:04 UTC"
    assert templating.utc_time(None) == "–"
