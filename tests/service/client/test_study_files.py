"""Study files are read into plain values, or refused with the position of the fault."""

from pathlib import Path

import pytest

from gradnoise_service.client import read_studies, read_study
from gradnoise_service.study_text import MalformedStudyError


def test_yaml_file_may_hold_several_studies(tmp_path: Path) -> None:
    """They cannot be read as one study."""
    file = tmp_path / "studies.yaml"
    file.write_text("name: a\n---\nname: b\n", encoding="utf-8")
    assert read_studies(file) == [{"name": "a"}, {"name": "b"}]
    with pytest.raises(MalformedStudyError, match="holds 2 studies"):
        read_study(file)


def test_suffix_selects_the_format(tmp_path: Path) -> None:
    text = '{"name": "a",}'
    for suffix in ("yaml", "json"):
        (tmp_path / f"study.{suffix}").write_text(text, encoding="utf-8")
    assert read_study(tmp_path / "study.yaml") == {"name": "a"}
    with pytest.raises(MalformedStudyError, match="line 1"):
        read_study(tmp_path / "study.json")


def test_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_bytes(b"name: \xff")
    with pytest.raises(MalformedStudyError, match="not UTF-8 at byte 6"):
        read_study(file)
