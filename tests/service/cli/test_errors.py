"""Known errors: a readable block on stderr and the documented exit code."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import Result

from cli_output import rows
from gradnoise_service.local import ports

Run = Callable[..., Result]


def test_refusal_lists_each_fault(gradnoise: Run, study_file: Path) -> None:
    """Field and legal values are on stderr; nothing is stored."""
    study = yaml.safe_load(study_file.read_text(encoding="utf-8"))
    study["workload"] = "nope"
    study["space"]["lr"]["low"] = -1
    study_file.write_text(yaml.safe_dump(study), encoding="utf-8")
    refused = gradnoise("submit", study_file)
    assert refused.exit_code == 1
    assert refused.stdout == ""
    assert "space.lr" in refused.stderr
    assert "legal:" in refused.stderr
    assert rows(gradnoise("list"))[1:] == []
    problem = json.loads(gradnoise("submit", study_file, "--json").stderr)
    assert (problem["status"], bool(problem["errors"])) == (422, True)


def test_malformed_file_exits_with_2_and_names_the_position(
    gradnoise: Run, study_file: Path
) -> None:
    study_file.write_text("name: x\nspace: [1\nseed: 1", encoding="utf-8")
    refused = gradnoise("submit", study_file)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "line 3, column 5" in refused.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["submit"],
        ["submit", "no-such-file.yaml"],
        ["submit", "study.yaml", "--preset", "demo"],
        ["list", "--state", "sleeping"],
        ["list", "--limit", "0"],
        ["presets", "nope"],
        ["presets", "demo", "--scale", "quick"],
        ["presets", "demo", "--row", "simple"],
        ["presets", "paper-table-1", "--row", "complex"],
        ["submit", "study.yaml", "--row", "simple"],
        ["submit", "study.yaml", "--scale", "quick"],
        ["submit", "--preset", "paper-table-1", "--name", "mine"],
        ["demo", "--preset", "paper-table-1"],
        ["demo", "--preset", "nope"],
        ["report", "1", "--format", "pdf"],
        ["report", "1", "--format", "svg"],
        ["token", "create", "laptop", "--owner", "ada", "--scope", "everything"],
        ["up", "--port", "0"],
        ["nope"],
    ],
    ids=" ".join,
)
def test_invalid_command_line_exits_with_2(
    gradnoise: Run, study_file: Path, arguments: list[str]
) -> None:
    assert gradnoise(*arguments).exit_code == 2


def test_invalid_setting_exits_with_2_and_names_the_variable(
    gradnoise: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADNOISE_PORT", "many")
    monkeypatch.delenv("GRADNOISE_URL")
    refused = gradnoise("list")
    assert refused.exit_code == 2
    assert "GRADNOISE_PORT='many'" in refused.stderr


def test_unwritable_file_exits_with_2_and_names_the_file(
    gradnoise: Run, study_file: Path, worker: Any, tmp_path: Path
) -> None:
    gradnoise("submit", study_file)
    worker.begin(1)
    worker.end_trial(1, 0.5)
    refused = gradnoise("report", 1, "--output", tmp_path / "no" / "such" / "folder.html")
    assert refused.exit_code == 2
    assert "folder.html: no such file or directory" in refused.stderr


def test_unreachable_service_exits_with_3_and_suggests_a_fix(gradnoise: Run) -> None:
    url = f"http://127.0.0.1:{ports.free('127.0.0.1')}"
    refused = gradnoise("list", "--url", url)
    assert refused.exit_code == 3
    assert url in refused.stderr
    assert "gradnoise up" in refused.stderr


def test_unknown_study_exits_with_1_and_names_the_study(gradnoise: Run) -> None:
    refused = gradnoise("show", "nothing")
    assert refused.exit_code == 1
    assert "'nothing'" in refused.stderr
