"""The command as a process: its output on a terminal, and what its help loads."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from typer.testing import Result

HEAVY = {
    "rich",
    "fastapi",
    "httpx2",
    "numpy",
    "optuna",
    "psutil",
    "pydantic",
    "ray",
    "scipy",
    "sqlalchemy",
    "torch",
    "yaml",
}


def on_a_terminal(*arguments: str, env: dict[str, str]) -> str:
    """Run the command on a pseudo-terminal and return its output."""
    terminal, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gradnoise_service", *arguments],
        stdin=side,
        stdout=side,
        stderr=side,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "120"} | env,
    )
    os.close(side)
    with open(terminal, "rb", buffering=0) as screen:
        printed = b"".join(chunks(screen))
    assert process.wait() in (0, 1)
    return printed.decode()


def chunks(screen: BinaryIO) -> Iterator[bytes]:
    try:
        while chunk := screen.read(4096):
            yield chunk
    except OSError:  # Linux reports the end of a pseudo-terminal as an error
        return


def test_terminal_gets_colours_and_bars(
    api: Any, gradnoise: Callable[..., Result], study_file: Path
) -> None:
    """NO_COLOR removes the colours."""
    gradnoise("submit", study_file)
    gradnoise("cancel", 1)
    env = {"GRADNOISE_URL": api.url}
    assert re.search(r"\x1b\[[0-9;]*m", on_a_terminal("list", env=env))
    assert "━" in on_a_terminal("watch", "1", env=env)
    assert not re.search(r"\x1b\[[0-9;]*3\dm", on_a_terminal("list", env=env | {"NO_COLOR": "1"}))


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [((), HEAVY), (("list",), HEAVY - {"pydantic"})],  # typer loads pydantic for a command
)
def test_help_loads_no_heavy_package(arguments: tuple[str, ...], heavy: set[str]) -> None:
    """Help is fast because commands import their packages when they run."""
    program = f"""
import sys
from gradnoise_service.__main__ import main
sys.argv = ["gradnoise", *{arguments!r}, "--help"]
try:
    main()
except SystemExit:
    pass
print(*sorted({heavy!r} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (0, "")
