"""The formats and figures in which the service renders reports."""

from typing import Literal

ReportFormat = Literal["json", "html", "markdown", "csv", "tex"]
SuiteFormat = Literal["json", "html", "markdown"]
MEDIA_TYPES: dict[ReportFormat, str] = {
    "json": "application/json",
    "html": "text/html",
    "markdown": "text/markdown",
    "csv": "text/csv",
    "tex": "application/x-tex",
}
FIGURES = (
    "confirm",
    "difference",
    "best_so_far",
    "tuning_curves",
    "learning_rate",
    "noise_map",
    "importance",
    "course",
    "noise_course",
)
