"""Tables: aligned columns with styles on a terminal, tab-separated values elsewhere."""

from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from gradnoise_service.terminal.console import out, show_line

STATE_STYLES = {
    "running": "cyan",
    "stopping": "cyan",
    "pausing": "cyan",
    "paused": "yellow",
    "complete": "green",
    "failed": "red",
    "cancelled": "yellow",
    "queued": "dim",
}
VERDICT_STYLES = {
    "helps": "bold green",
    "hurts": "bold red",
    "no_difference": "bold blue",
    "undecided": "bold yellow",
}
COLUMN_STYLES = {"state": STATE_STYLES, "verdict": VERDICT_STYLES}


LONGEST_WORD = 13
"""A column of words up to this length does not wrap."""


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headings; on a terminal, cells of several words wrap at its width."""
    if not out.is_terminal:
        for row in (columns, *rows):
            show_line("\t".join(map(cell_text, row)))
        return
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    shown = [list(map(_styled, columns, row)) for row in rows]
    for i, column in enumerate(columns):
        is_short = all(_is_short_word(row[i].plain) for row in shown)
        table.add_column(column, overflow="fold", no_wrap=is_short)
    for cells in shown:
        table.add_row(*cells)
    out.print(table, soft_wrap=False)


def show_facts(facts: Mapping[str, object]) -> None:
    """Print names and values, one pair a line."""
    if not out.is_terminal:
        for name, value in facts.items():
            show_line(f"{name}\t{cell_text(value)}")
        return
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, _styled(name, value))
    out.print(table, soft_wrap=False)


def grid(*widths: int) -> Table:
    """Return a table without lines: columns of these widths, then a column of the rest."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for width in widths:
        table.add_column(width=width, overflow="fold")
    table.add_column(overflow="fold")
    return table


def cell_text(value: object) -> str:
    """Return a value as the text of a cell, on one line; `-` for none."""
    return "-" if value is None or value == "" else " ".join(str(value).split())


def _is_short_word(text: str) -> bool:
    return len(text) <= LONGEST_WORD and " " not in text


def _styled(column: str, value: object) -> Text:
    text = cell_text(value)
    return Text(text, style=COLUMN_STYLES.get(column, {}).get(text, ""))
