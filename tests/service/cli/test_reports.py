"""`gradnoise report` prints a report or writes it into files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
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
def test_a_format_that_no_report_has_is_refused_with_the_legal_ones(gradnoise: Run) -> None:
    """A PDF is printed from the HTML report. Nothing is written."""
    refused = gradnoise("report", 1, "-o", "report.pdf")
    said = " ".join(refused.stderr.replace("│", " ").split())
    assert (refused.exit_code, Path("report.pdf").exists()) == (2, False)
    assert "no report has the suffix '.pdf'; legal: .md, .html, .json, .csv, .tex" in said
    assert "write a .html file and print it from a browser" in said
    assert gradnoise("suite", "any", "-o", "answer.tex").exit_code == 2


def test_several_reports_are_written_into_a_folder(
    gradnoise: Run, study_file: Path, worker: Any, tmp_path: Path
) -> None:
    """A study without a report does not prevent the others."""
    for number in (1, 2):
        gradnoise("submit", study_file, "--name", f"study {number}")
    worker.begin(1)
    worker.end_trial(1, 0.5)
    written = gradnoise("report", "study 2", 1, "-o", tmp_path / "reports", "--format", "html")
    assert written.exit_code == 1
    assert "study 2 (id 2)" in written.stderr
    assert [file.name for file in (tmp_path / "reports").iterdir()] == ["study 1.html"]


@pytest.mark.usefixtures("complete")
def test_images_write_every_figure_that_is_not_empty(gradnoise: Run, tmp_path: Path) -> None:
    folder = tmp_path / "figures"
    assert gradnoise("report", 1, "--format", "png", "--output", folder).exit_code == 0
    assert [path.name for path in folder.iterdir()] == ["best_so_far.png"]


@pytest.mark.usefixtures("complete")
def test_best_settings_are_printed_or_written(gradnoise: Run, tmp_path: Path) -> None:
    printed = gradnoise("best", 1)
    assert printed.exit_code == 0, printed.stderr
    plain = yaml.safe_load(printed.stdout)
    assert plain["arms"]["baseline"]["settings"][0]["params"] == {"lr": 0.1}
    assert json.loads(gradnoise("best", 1, "--json").stdout) == plain
    assert gradnoise("best", 1, "--format", "python", "-o", "best.py").exit_code == 0
    assert "ARMS = " in Path("best.py").read_text(encoding="utf-8")
