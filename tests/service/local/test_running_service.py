"""The file of the running service is written, read and deleted."""

from pathlib import Path

import pytest

from gradnoise_service.local import running_service
from gradnoise_service.local.running_service import RunningService


def test_recorded_service_is_found_until_it_is_forgotten(tmp_path: Path) -> None:
    service = RunningService(pid=7, url="http://127.0.0.1:8000")
    running_service.record(tmp_path, service)
    assert running_service.find(tmp_path) == service
    running_service.forget(tmp_path)
    assert running_service.find(tmp_path) is None


@pytest.mark.parametrize("text", ["", "[]", '{"pid": 7}'])
def test_unreadable_file_is_no_service(tmp_path: Path, text: str) -> None:
    (tmp_path / running_service.FILE_NAME).write_text(text, encoding="utf-8")
    assert running_service.find(tmp_path) is None
