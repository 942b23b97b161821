"""Waiting until a service that is starting can take studies."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gradnoise_service.client import Client, UnreachableError
from gradnoise_service.local.errors import NotReadyError

READY_SECONDS = 180
POLL_SECONDS = 0.2


def wait_until_ready(
    client: Client, log_folder: Path, *, has_dispatcher: Callable[[str], bool] | None = None
) -> None:
    """Wait until the service can take a study.

    Args:
        client: Of the service.
        log_folder: Named in the error.
        has_dispatcher: Wait for a dispatcher too, for whose id this is true: neither one that was
            killed before the service was started, nor that of another service at this address.

    Raises:
        NotReadyError: If that takes longer than `READY_SECONDS`.
    """
    missing = ["The API does not answer yet."]
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(UnreachableError):
            missing = list(_missing(client.readiness(), has_dispatcher))
            if not missing:
                return
        time.sleep(POLL_SECONDS)
    raise NotReadyError(READY_SECONDS, missing, log_folder)


def _missing(
    readiness: Mapping[str, Any], has_dispatcher: Callable[[str], bool] | None
) -> Iterator[str]:
    """Yield what the service lacks to take a study."""
    yield from (check["detail"] for check in readiness["checks"] if not check["ok"])
    ids = [each["id"] for each in readiness["dispatchers"]]
    if has_dispatcher is not None and not any(map(has_dispatcher, ids)):
        yield "The dispatcher of this service does not run yet."
