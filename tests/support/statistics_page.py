"""docs/statistics.md: its text, and the rows of its tables."""

import re
from pathlib import Path

TEXT = (Path(__file__).resolve().parents[2] / "docs/statistics.md").read_text(encoding="utf-8")


def documented(*cells: str) -> list[float]:
    """Return the percentages of the documented table row that starts with these cells."""
    start = re.escape(" | ".join(cells))
    (row,) = re.findall(rf"^\| {start} \|([ \d.|-]+)\|$", TEXT, re.MULTILINE)
    return [float(cell) / 100 for cell in row.split("|")]
