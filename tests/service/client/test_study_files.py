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


def test_suite_file_holds_studies_that_share_fields(tmp_path: Path) -> None:
    """Each study merges the shared fields with its own; faults name their field."""
    file = tmp_path / "suite.yaml"
    file.write_text(
        "suite: several\ndescription: d\nstudy: {seed: 1, search: {n_trials: 4, epochs: 2}}\n"
        "studies:\n  - {name: a, workload: mlp}\n  - {name: b, search: {epochs: 9}, seed: 2}\n",
        encoding="utf-8",
    )
    shared = {"description": "d", "suite": "several"}
    assert read_studies(file) == [
        shared
        | {"name": "a", "workload": "mlp", "seed": 1, "search": {"n_trials": 4, "epochs": 2}},
        shared | {"name": "b", "seed": 2, "search": {"n_trials": 4, "epochs": 9}},
    ]
    for text, fault in (
        ("suite: s\nstudies: [{name: a}]\n", "suite's studies: List should have at least 2"),
        ("studies: [{name: a}, {name: b}]\n", "suite's suite: Field required"),
        ("suite: s\nstudies: [1, 2]\n", r"suite's studies\.0: Input should be a valid dict"),
    ):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(MalformedStudyError, match=fault):
            read_studies(file)


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
