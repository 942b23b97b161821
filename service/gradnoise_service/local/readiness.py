"""Waiting until a service that is starting can take studies."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from gradnoise_service.client import Client, UnreachableError
from gradnoise_service.local.errors import NotReadyError

READY_SECONDS = 180
POLL_SECONDS = 0.5


def wait_until_ready(
    client: Client, log_folder: Path, *, lease_after: datetime | None = None
) -> None:
    """Wait until the service can take a study.

    Args:
        client: Of the service.
        log_folder: Named in the error.
        lease_after: Wait for a dispatcher too, whose lease ends after this time: a later one than
            the lease of any dispatcher that ran before the service was started.

    Raises:
        NotReadyError: If that takes longer than `READY_SECONDS`.
    """
    missing = ["The API does not answer yet."]
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(UnreachableError):
            missing = list(_missing(client.readiness(), lease_after))
            if not missing:
                return
        time.sleep(POLL_SECONDS)
    raise NotReadyError(READY_SECONDS, missing, log_folder)


def _missing(readiness: Mapping[str, Any], lease_after: datetime | None) -> Iterator[str]:
    """Yield what the service lacks to take a study."""
    yield from (check["detail"] for check in readiness["checks"] if not check["ok"])
    ends = [datetime.fromisoformat(each["acquired_until"]) for each in readiness["dispatchers"]]
    if lease_after is not None and not any(end > lease_after for end in ends):
        yield "No dispatcher runs yet."
