"""The log of a study, or of a trial, line by line."""

from rich.text import Text

from gradnoise_service.domain.log import LogPiece, gap
from gradnoise_service.terminal.console import out


class LogPrinter:
    """Prints pieces of logs, with notes where an attempt begins or text was left out.

    Args:
        with_names: Whether the name of its trial precedes every line.
    """

    def __init__(self, *, with_names: bool) -> None:
        self._with_names = with_names
        self._ends: dict[tuple[int, int], int] = {}

    def show(self, piece: LogPiece) -> None:
        """Print a piece."""
        attempt = (piece.trial_id, piece.attempt)
        if attempt not in self._ends and piece.attempt > 1:
            self._line(piece, Text(f"[attempt {piece.attempt}]", "dim"))
        for line in gap(self._ends.get(attempt, 0), piece.position).splitlines():
            self._line(piece, Text(line, "dim"))
        self._ends[attempt] = piece.position + len(piece.text)
        for line in piece.text.removesuffix("\n").split("\n"):
            self._line(piece, Text(line))

    def _line(self, piece: LogPiece, line: Text) -> None:
        prefix = Text(f"{piece.trial} | ", "cyan") if self._with_names else Text()
        out.print(prefix + line)
