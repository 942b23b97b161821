"""Reports and figures of a study, fetched for the command line."""

from collections.abc import Collection
from pathlib import Path
from typing import Literal

import typer

from gradnoise_service.client import Client
from gradnoise_service.client.report_formats import ReportFormat, SuiteFormat

FORMATS: dict[str, ReportFormat] = {
    "md": "markdown",
    "html": "html",
    "json": "json",
    "csv": "csv",
    "tex": "tex",
}
"""Report formats by file suffix."""
SUITE_FORMATS: dict[str, SuiteFormat] = {"md": "markdown", "html": "html", "json": "json"}


def check_suffix(file: Path, formats: Collection[str]) -> str:
    """Return the format of a file by its suffix.

    Raises:
        typer.BadParameter: If no report has this format.
    """
    suffix = file.suffix.lower().removeprefix(".")
    if suffix in formats:
        return suffix
    hint = "; for a PDF, write a .html file and print it from a browser" if suffix == "pdf" else ""
    legal = ", ".join(f".{format}" for format in formats)
    raise typer.BadParameter(
        f"no report has the suffix {file.suffix!r}; legal: {legal}{hint}", param_hint="--output"
    )


def write_figures(
    client: Client, study_id: int, format: Literal["svg", "png"], folder: Path
) -> int:
    """Write the non-empty figures of a study's report into a folder; return their number."""
    images = client.figures(study_id, format)
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        (folder / f"{name}.{format}").write_bytes(image)
    return len(images)
