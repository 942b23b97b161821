"""`gradnoise db upgrade` creates the database."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gradnoise_service.cli.app import app


@pytest.mark.usefixtures("quiet")
def test_database_is_created_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second upgrade changes nothing."""
    monkeypatch.delenv("GRADNOISE_DATABASE_URL", raising=False)
    command = ["db", "upgrade", "--home", str(tmp_path / "new"), "--json"]
    first, second = (CliRunner().invoke(app, command) for _ in range(2))
    assert first.exit_code == second.exit_code == 0
    assert json.loads(first.stdout) == json.loads(second.stdout)
    assert (tmp_path / "new" / "gradnoise.db").exists()
