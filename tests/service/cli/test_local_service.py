"""`gradnoise doctor`, and the service of the home folder."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from cli_output import rows
from gradnoise_service.local import ports

Run = Callable[..., Result]


def test_doctor_has_a_line_for_each_check_and_a_hint_for_each_failure(gradnoise: Run) -> None:
    findings = {row[1]: row for row in rows(gradnoise("doctor"))}
    assert findings["torch"][0] == "ok"
    assert findings["service"][0] == "ok"
    assert findings["workers"][0] == "fail"
    assert "gradnoise up" in findings["workers"][3]


def test_doctor_exits_with_1_after_a_failure(
    gradnoise: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADNOISE_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    monkeypatch.setenv("GRADNOISE_URL", f"http://127.0.0.1:{ports.free('127.0.0.1')}")
    result = gradnoise("doctor")
    assert result.exit_code == 1
    assert ["fail", "database"] in [row[:2] for row in rows(result)]


def test_doctor_names_the_process_that_uses_a_port(
    gradnoise: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        monkeypatch.setenv("GRADNOISE_PORT", str(holder.getsockname()[1]))
        monkeypatch.setenv("GRADNOISE_URL", f"http://127.0.0.1:{ports.free('127.0.0.1')}")
        assert f"in use by process {os.getpid()}" in gradnoise("doctor").stdout


def test_commands_find_the_service_of_the_home_folder(
    api: Any, gradnoise: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --url, a command uses the address that the supervisor recorded."""
    monkeypatch.delenv("GRADNOISE_URL")
    monkeypatch.setenv("GRADNOISE_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "running.json").write_text(
        json.dumps({"pid": 1, "url": api.url}), encoding="utf-8"
    )
    assert gradnoise("list").exit_code == 0
