"""`gradnoise suite` lists suites, shows the answer of one, and writes its report."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import Result

from cli_output import rows
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Trial

Run = Callable[..., Result]


@pytest.fixture
def suite_file(make_spec: Callable[..., StudySpec], tmp_path: Path) -> Path:
    """A suite of two studies."""
    shared = make_spec(confirm={"n_seeds": 8}).model_dump(mode="json", exclude={"name", "suite"})
    studies = [{"name": "one"}, {"name": "two", "seed": 2}]
    file = tmp_path / "suite.yaml"
    file.write_text(
        yaml.safe_dump({"suite": "both", "study": shared, "studies": studies}), encoding="utf-8"
    )
    return file


def better(trial: Trial) -> float:
    """Return a value that is better by 0.1 to 0.107 in the noisy arm."""
    return 0.5 + (0.1 + trial.number / 1000 if trial.arm == "noisy" else 0)


def test_a_suite_file_is_submitted_and_its_answer_shown(
    gradnoise: Run, suite_file: Path, worker: Any, tmp_path: Path
) -> None:
    submitted = gradnoise("submit", suite_file)
    assert submitted.exit_code == 0, submitted.output
    assert rows(gradnoise("suite"))[1] == ["both", "2", "0", "local"]
    waiting = gradnoise("suite", "both")
    assert "0 of 2 studies have ended" in waiting.stdout
    worker.run_all(1, better)
    worker.run_all(2, better)
    shown = gradnoise("suite", "both").stdout
    assert shown.startswith("helps  noisy helps on average over these workloads")
    assert [row[:2] for row in rows(gradnoise("suite", "both"))[-2:]] == [
        ["one", "mlp"],
        ["two", "mlp"],
    ]
    answer = json.loads(gradnoise("suite", "both", "--json").stdout)
    assert answer["verdict"] == "helps"
    for name, start in (("s.html", "<!doctype"), ("s.md", "# both"), ("s.json", "{")):
        assert gradnoise("suite", "both", "-o", tmp_path / name).exit_code == 0
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(start)


def test_errors_name_the_suite_or_the_missing_argument(gradnoise: Run, tmp_path: Path) -> None:
    assert json.loads(gradnoise("suite", "--json").stdout) == []
    unknown = gradnoise("suite", "nothing")
    assert unknown.exit_code != 0
    assert "There is no suite named 'nothing'" in unknown.output
    assert gradnoise("suite", "-o", tmp_path / "s.md").exit_code == 2


@pytest.mark.usefixtures("whole_catalogue")
def test_the_preset_is_submitted_once(gradnoise: Run) -> None:
    """A second submission finds the studies of the first."""
    first = gradnoise("submit", "--preset", "suite-small")
    assert first.stdout.count("Submitted ") == 6, first.output
    assert gradnoise("submit", "--preset", "suite-small").stdout.count("Already submitted") == 6
    assert rows(gradnoise("suite"))[1] == ["suite-small", "6", "0", "local"]
