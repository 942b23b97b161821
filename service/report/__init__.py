"""A study's comparison for people: an HTML page, Markdown, figures; for other programs: CSV, LaTeX."""

from service.report.markdown_text import markdown
from service.report.page import html
from service.report.plots import plots
from service.report.tabular import csv_text, latex

__all__ = ["csv_text", "html", "latex", "markdown", "plots"]
