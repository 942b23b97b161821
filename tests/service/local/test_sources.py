"""The process that imports a file answers, or says why it does not."""

from pathlib import Path

import pytest

from gradnoise_service.domain.source import Source
from gradnoise_service.local import sources
from gradnoise_service.local.errors import SourceFileError


@pytest.mark.slow
def test_an_import_that_never_ends_is_an_error_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADNOISE_IMPORT_SECONDS", "0.5")
    file = tmp_path / "train.py"
    file.write_text("import time\n\ntime.sleep(600)\n", encoding="utf-8")
    with pytest.raises(SourceFileError) as raised:
        sources.read_file(file)
    assert str(raised.value).startswith("train.py, line 3: its import did not end within the time")
    assert "GRADNOISE_IMPORT_SECONDS" in str(raised.value)
    assert '__name__ == "__main__"' in raised.value.details[0]


def test_the_files_that_differ_from_a_source_are_named(tmp_path: Path) -> None:
    files = {"train.py": "1", "shapes.py": "2", "gone.py": "3"}
    source = Source(name="train.py", files=files, folder=str(tmp_path), announced={})
    (tmp_path / "train.py").write_text("1", encoding="utf-8")
    (tmp_path / "shapes.py").write_text("edited", encoding="utf-8")
    assert sources.changed_files(source) == ["shapes.py", "gone.py"]
