"""`gradnoise report` prints a report or writes it into files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

Run = Callable[..., Result]


@pytest.fixture
def complete(gradnoise: Run, study_file: Path, worker: Any) -> None:
    """A complete study with one trial."""
    gradnoise("submit", study_file)
    worker.begin(1)
    worker.end_trial(1, 0.5)
    worker.complete(1)


@pytest.mark.usefixtures("complete")
def test_format_follows_the_suffix_of_the_output(gradnoise: Run, tmp_path: Path) -> None:
    assert gradnoise("report", 1, "--output", tmp_path / "report.html").exit_code == 0
    assert "<html" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert gradnoise("report", 1, "--output", tmp_path / "table.tex").exit_code == 0
    assert r"\toprule" in (tmp_path / "table.tex").read_text(encoding="utf-8")


@pytest.mark.usefixtures("complete")
def test_report_is_printed_without_an_output(gradnoise: Run) -> None:
    assert gradnoise("report", 1).stdout.startswith("#")
    assert json.loads(gradnoise("report", 1, "--format", "json").stdout)["verdict"] == "undecided"
    assert gradnoise("report", 1, "--format", "csv").stdout.startswith("phase,arm,")


@pytest.mark.usefixtures("complete")
def test_images_write_every_figure_that_is_not_empty(gradnoise: Run, tmp_path: Path) -> None:
    folder = tmp_path / "figures"
    assert gradnoise("report", 1, "--format", "png", "--output", folder).exit_code == 0
    assert [path.name for path in folder.iterdir()] == ["best_so_far.png"]
