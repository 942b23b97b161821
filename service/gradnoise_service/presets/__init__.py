"""Presets: studies that are ready to submit, and the tables of the paper at several scales.

`gradnoise submit --preset NAME` submits a preset; `--scale` and `--row` select from a paper table.
"""

from gradnoise_service.presets.loading import describe, find_table, load, names, scales, text
from gradnoise_service.presets.paper_table import FULL, PaperFigures, PaperTable, TableRow

__all__ = [
    "FULL",
    "PaperFigures",
    "PaperTable",
    "TableRow",
    "describe",
    "find_table",
    "load",
    "names",
    "scales",
    "text",
]
