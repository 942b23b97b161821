"""The findings of `gradnoise doctor`."""

from rich.text import Text

from gradnoise_service.terminal.console import out, show_line
from gradnoise_service.terminal.tables import grid

MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "bold red")}


def show_finding(name: str, state: str, detail: str, hint: str) -> None:
    """Print a finding; its state is `ok`, `warn` or `fail`."""
    if not out.is_terminal:
        show_line("\t".join(part for part in (state, name, detail, hint) if part))
        return
    mark, style = MARKS[state]
    table = grid(1, 16)
    table.add_row(Text(mark, style=style), Text(name, style="bold"), Text(detail))
    if hint:
        table.add_row("", "", Text(hint, style=style))
    out.print(table, soft_wrap=False)
