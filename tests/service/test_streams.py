"""No character of a study stops a process whose streams cannot encode it, or acts on a terminal."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gradnoise_service.client import Client
from gradnoise_service.domain.spec import StudySpec
from live_api import LiveApi

PROGRAM = """
import logging, structlog
from gradnoise_service import logs
from gradnoise_service.settings import Settings
logs.configure(Settings(), "api")
structlog.get_logger().info("request", path="/\\x1b]0;x\\x07\\x1b[2J – 中")
logging.getLogger("other").error("\\x1b[2J 中")
try:
    raise ValueError("\\x1b[31m 中")
except ValueError:
    structlog.get_logger().exception("failed")
print("–")
"""


def test_logs_write_any_text_in_any_encoding() -> None:
    """The console format and the encoding of old terminals are the hardest."""
    environment = os.environ | {"PYTHONIOENCODING": "latin-1", "GRADNOISE_LOG_FORMAT": "console"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, check=True
    )
    assert done.stdout == b"?\n"
    assert done.stderr.count(b"[2J") == 2
    assert b"ValueError" in done.stderr
    assert b"\x1b]" not in done.stderr
    assert b"\x1b[2J" not in done.stderr
    assert b"\x1b[31m" not in done.stderr
    assert b"Logging error" not in done.stderr


UNAVAILABLE = """
import pathlib, structlog
from gradnoise_service import logs
from gradnoise_service.settings import Settings
from gradnoise_service.store.database import open_database
logs.configure(Settings(), "api")
database = open_database("sqlite:///folder/gradnoise.db")
pathlib.Path("folder").rmdir()
for retry in range(2):
    try:
        with database.session() as session:
            session.connection()
    except Exception as error:
        structlog.get_logger().exception("failed; retrying")
        structlog.get_logger().warning("failed; retrying", exc_info=error)
"""


def test_a_database_that_does_not_answer_is_logged_in_one_line(tmp_path: Path) -> None:
    """Every retry logs it: with traces, an outage of an hour would fill the log."""
    command = [sys.executable, "-c", UNAVAILABLE]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert len(lines) == 4
    assert all("failed; retrying" in line for line in lines)
    assert all("unable to open database file" in line for line in lines)


COMMANDS = """
import sys
from gradnoise_service.__main__ import main
for arguments in sys.argv[1:]:
    sys.argv = ["gradnoise", *arguments.split()]
    try:
        main()
    except SystemExit as end:
        assert not end.code, arguments
"""


@pytest.mark.slow
def test_the_command_line_prints_in_any_encoding(
    api: LiveApi, worker: Any, make_spec: Callable[..., StudySpec], tmp_path: Path
) -> None:
    """A file has every character, whatever the encoding of the terminal."""
    with Client(api.url) as client:
        study = client.submit(make_spec(description="噪声 – noise", options={}))
        worker.run_all(study.id)
    arguments = ("--help", "show 1", "report 1", "report 1 --format html --output report.html")
    command = [sys.executable, "-c", COMMANDS, *arguments]
    environment = os.environ | {"PYTHONIOENCODING": "latin-1", "GRADNOISE_URL": api.url}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, check=True)
    assert b"Usage" in done.stdout
    assert done.stdout.count(b"?? ? noise") == 2
    assert b"Error" not in done.stderr
    assert "噪声 – noise" in (tmp_path / "report.html").read_text(encoding="utf-8")
