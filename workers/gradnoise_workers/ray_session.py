"""The folder with the logs and sockets of a local Ray, which Ray itself leaves behind."""

import contextlib
import shutil
from pathlib import Path

PREFIX = "session_"


def record_session(record: Path, folder: str) -> None:
    """Store the path of the present session's folder; a full disk is ignored.

    Args:
        record: The file.
        folder: The path.
    """
    with contextlib.suppress(OSError):
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(folder, encoding="utf-8")


def remove_session(record: Path) -> None:
    """Remove the folder of the session that was recorded last, if its process ended early too."""
    with contextlib.suppress(OSError):
        folder = Path(record.read_text(encoding="utf-8"))
        if folder.name.startswith(PREFIX):
            shutil.rmtree(folder, ignore_errors=True)
        record.unlink()
