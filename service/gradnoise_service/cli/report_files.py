"""Reports and figures of a study, fetched for the command line."""

from pathlib import Path
from typing import Literal

from gradnoise_service.client import Client
from gradnoise_service.client.client import ReportFormat, SuiteFormat

FORMATS: dict[str, ReportFormat] = {"html": "html", "json": "json", "csv": "csv", "tex": "tex"}
"""Report formats by file suffix; any other suffix is Markdown."""


def report_text(client: Client, study: str, suffix: str) -> str:
    """Return a study's report in the format of a file suffix."""
    return client.report(client.study(study).id, FORMATS.get(suffix, "markdown"))


def suite_format(file: Path) -> SuiteFormat:
    """Return the format of a suite's report by the suffix of its file."""
    formats: dict[str, SuiteFormat] = {".html": "html", ".json": "json"}
    return formats.get(file.suffix.lower(), "markdown")


def write_figures(client: Client, study: str, format: Literal["svg", "png"], folder: Path) -> int:
    """Write the non-empty figures of a study's report into a folder; return their number."""
    images = client.figures(client.study(study).id, format)
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        (folder / f"{name}.{format}").write_bytes(image)
    return len(images)
