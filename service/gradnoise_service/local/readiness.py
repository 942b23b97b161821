"""Waiting until a service that is starting can take studies."""

import contextlib
import time
from pathlib import Path

from gradnoise_service.client import Client, UnreachableError
from gradnoise_service.local.errors import NotReadyError

READY_SECONDS = 90
POLL_SECONDS = 0.5


def wait_until_ready(client: Client, log_folder: Path) -> None:
    """Wait until the service can take a study.

    Raises:
        NotReadyError: If that takes longer than `READY_SECONDS`.
    """
    missing = ["The API does not answer yet."]
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(UnreachableError):
            readiness = client.readiness()
            if readiness["ready"]:
                return
            missing = [check["detail"] for check in readiness["checks"] if not check["ok"]]
        time.sleep(POLL_SECONDS)
    raise NotReadyError(READY_SECONDS, missing, log_folder)
