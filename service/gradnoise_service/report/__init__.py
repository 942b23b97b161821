"""A study's comparison for people: an HTML page, Markdown, figures; for other programs: CSV, LaTeX."""

from gradnoise_service.report.markdown_text import markdown
from gradnoise_service.report.page import html
from gradnoise_service.report.plots import plots
from gradnoise_service.report.tabular import csv_text, latex

__all__ = ["csv_text", "html", "latex", "markdown", "plots"]
