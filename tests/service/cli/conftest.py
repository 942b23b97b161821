"""Fixtures: the command against the shared API, and a study file."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from gradnoise_service.cli.app import app
from gradnoise_service.domain.spec import StudySpec
from live_api import LiveApi


@pytest.fixture
def gradnoise(
    api: LiveApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """A function that runs the command against the API, from the test's folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRADNOISE_URL", api.url)
    return lambda *arguments, **options: CliRunner().invoke(
        app, list(map(str, arguments)), **options
    )


@pytest.fixture
def study_file(make_spec: Callable[..., StudySpec], tmp_path: Path) -> Path:
    """A YAML file with the study `a study`."""
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(make_spec().model_dump(mode="json")), encoding="utf-8")
    return file
