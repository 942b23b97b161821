"""A study's comparison for people: an HTML page, Markdown, figures."""

from service.report.markdown_text import markdown
from service.report.page import html

__all__ = ["html", "markdown"]
