"""Texts cannot write escape sequences; the console's own styles can."""

import io

import pytest
from rich.table import Table
from rich.text import Text

from gradnoise_service.terminal.console import PlainConsole, show_line

HOSTILE = "a\x1b[2Jb\x1b]0;title\x07c\x9b1A\x08\r"
HARMLESS = "a�[2Jb�]0;title�c�1A��"
BY_RICH = "a�[2Jb�]0;titlec�1A"
"""Rich removes some of the control characters itself."""


def test_control_characters_are_replaced_wherever_they_are_printed() -> None:
    table = Table()
    table.add_column(HOSTILE)
    table.add_row(Text(HOSTILE, "red"))
    for shown in (HOSTILE, Text(HOSTILE), table):
        stream = io.StringIO()
        PlainConsole(file=stream, force_terminal=False, width=80).print(shown, markup=False)
        assert not set(stream.getvalue()) & set("\x1b\x07\x9b\x08\r")
        assert "title" in stream.getvalue()
    stream = io.StringIO()
    console = PlainConsole(
        file=stream, force_terminal=True, color_system="standard", highlight=False, width=80
    )
    console.print(Text(HOSTILE, "red"))
    console.out(HOSTILE)
    assert stream.getvalue() == f"\x1b[31m{BY_RICH}\x1b[0m\n{BY_RICH}\n"


def test_lines_for_other_programs_have_none_either(capsys: pytest.CaptureFixture[str]) -> None:
    show_line(HOSTILE)
    assert capsys.readouterr().out == HARMLESS + "\n"
