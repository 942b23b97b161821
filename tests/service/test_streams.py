"""No character of a study stops a process whose streams cannot encode it, or acts on a terminal."""

import os
import subprocess
import sys

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


def test_the_command_line_prints_in_any_encoding() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
    program = (
        "import sys; sys.argv = ['gradnoise', '--help']; "
        "from gradnoise_service.__main__ import main; main()"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert b"Usage" in done.stdout
    assert b"Error" not in done.stderr
