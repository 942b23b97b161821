"""The file in the home folder from which other commands learn which service runs there."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

FILE_NAME = "running.json"


@dataclass(frozen=True, kw_only=True)
class RunningService:
    """A running supervisor: its process id and the address of the API."""

    pid: int
    url: str


def record(home: Path, service: RunningService) -> None:
    """Write the file of a service that is starting."""
    (home / FILE_NAME).write_text(json.dumps(asdict(service)), encoding="utf-8")


def forget(home: Path) -> None:
    """Delete the file of a service that has stopped."""
    (home / FILE_NAME).unlink(missing_ok=True)


def find(home: Path) -> RunningService | None:
    """Return the service that runs from a home folder, None if there is none.

    The file of a supervisor that was killed remains, so the service may be gone.
    """
    try:
        return RunningService(**json.loads((home / FILE_NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
