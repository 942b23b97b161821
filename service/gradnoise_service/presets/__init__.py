"""Presets: studies and suites that are ready to submit, and the tables of the paper.

`gradnoise submit --preset NAME` submits a preset; `--scale` and `--row` select from a paper table.
"""

from gradnoise_service.presets.loading import describe, find_table, load, names, scales, text
from gradnoise_service.presets.paper_table import FULL, LONG, PaperFigures, PaperTable, TableRow
from gradnoise_service.presets.suite_file import SuiteFile

__all__ = [
    "FULL",
    "LONG",
    "PaperFigures",
    "PaperTable",
    "SuiteFile",
    "TableRow",
    "describe",
    "find_table",
    "load",
    "names",
    "scales",
    "text",
]
