"""The process that imports a file answers, or says why it does not."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from gradnoise_service.domain.source import Source
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.local import sources
from gradnoise_service.local.errors import SourceFileError


@pytest.mark.slow
@pytest.mark.parametrize("module", ["gradnoise_workers.source", "gradnoise_workers.retrain"])
def test_an_import_that_never_ends_is_an_error_with_its_line(
    module: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_spec: Callable[..., StudySpec],
) -> None:
    """The file is read in one case, and trained again from its stored text in the other."""
    monkeypatch.setenv("GRADNOISE_IMPORT_SECONDS", "0.5")
    text = "import time\n\ntime.sleep(600)\n"
    if module == "gradnoise_workers.source":
        (tmp_path / "train.py").write_text(text, encoding="utf-8")
        request = {"path": str(tmp_path / "train.py"), "choice": ""}
    else:
        source = Source(
            name="train.py", files={"train.py": text}, folder=str(tmp_path), announced={}
        )
        spec = make_spec().model_dump(mode="json")
        request = {"spec": spec, "source": asdict(source), "slots": 1, "trials": []}
    with pytest.raises(SourceFileError) as raised:
        list(sources.answers(request, "train.py", module))
    assert str(raised.value).startswith("train.py, line 3: its import did not end within the time")
    assert "GRADNOISE_IMPORT_SECONDS" in str(raised.value)
    assert '__name__ == "__main__"' in raised.value.details[0]


def test_the_files_that_differ_from_a_source_are_named(tmp_path: Path) -> None:
    files = {"train.py": "1", "shapes.py": "2", "gone.py": "3"}
    source = Source(name="train.py", files=files, folder=str(tmp_path), announced={})
    (tmp_path / "train.py").write_text("1", encoding="utf-8")
    (tmp_path / "shapes.py").write_text("edited", encoding="utf-8")
    assert sources.changed_files(source) == ["shapes.py", "gone.py"]
