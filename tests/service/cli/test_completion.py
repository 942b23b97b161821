"""The shell completes studies and presets."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gradnoise_service import presets
from gradnoise_service.cli.app import app

Run = Callable[..., Result]


def offered(line: str) -> str:
    """Return what zsh is offered for a line."""
    environment = {"_GRADNOISE_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": line}
    return CliRunner().invoke(app, [], env=environment, prog_name="gradnoise").stdout


def test_studies_are_offered_by_id_and_name(gradnoise: Run, study_file: Path) -> None:
    for name in ("first", "second"):
        gradnoise("submit", study_file, "--name", name)
    ids = offered("gradnoise show ")
    assert '"1":"first"' in ids
    assert '"2":"second"' in ids
    assert '"second":"queued"' in offered("gradnoise cancel 1 sec")
    assert "first" not in offered("gradnoise watch sec")


def test_nothing_is_offered_without_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADNOISE_URL", "http://127.0.0.1:9")
    assert ":" not in offered("gradnoise show ")


def test_presets_are_offered() -> None:
    for line in ("gradnoise submit --preset ", "gradnoise presets "):
        assert all(f'"{name}"' in offered(line) for name in presets.names())
    assert "paper-table-1" in offered("gradnoise demo --preset paper")
    assert "suite-small" not in offered("gradnoise demo --preset paper")
