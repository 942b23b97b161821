"""`gradnoise reproduction` writes the page and its pictures."""

import json
import re
from pathlib import Path

from typer.testing import CliRunner

from gradnoise_service.cli.app import app
from gradnoise_service.client import Client


def test_command_writes_the_page(client: Client, tmp_path: Path) -> None:
    """Without studies, every row is marked as not run, and there are no pictures."""
    file = tmp_path / "page.md"
    result = CliRunner().invoke(app, ["reproduction", "--output", str(file), "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"file": str(file), "rows": 5, "ran": 0}
    assert not (tmp_path / "pictures").exists()
    text = file.read_text(encoding="utf-8")
    assert len(re.findall(r"^- ⚪ \*\*.*: not run\.\*\*$", text, re.MULTILINE)) == 5
    assert "| [paper-table-9](#paper-table-9) | – | – | – | – | – | 5 of 5 | – | – |" in text
