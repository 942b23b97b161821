"""Records without colors are written as structlog writes them."""

import pytest
import structlog

from gradnoise_service.logs import COLUMNS


@pytest.mark.parametrize(
    "record",
    [
        {"event": "request", "level": "info", "timestamp": "2026-12-01T00:00:00Z"},
        {"event": "request", "level": "info", "path": "/v1/a b", "ms": 1.5, "client": None},
        {"event": "x" * 40, "level": "critical", "path": "a=b", "name": "", "quoted": "'\"\n"},
        {"event": "request_failed", "level": "error", "exception": "Traceback\n  ...", "a": "b"},
        {"event": "Started", "process": "api"},
    ],
)
def test_columns_equal_those_of_structlog(record: dict[str, object]) -> None:
    expected = structlog.dev.ConsoleRenderer(colors=False)
    assert structlog.dev.ConsoleRenderer(columns=COLUMNS)(None, "", dict(record)) == expected(
        None, "", dict(record)
    )
