"""The hash of the code covers the packages that a study names."""

import hashlib
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import gradnoise
from gradnoise_service.domain.spec import StudySpec
from gradnoise_workers import code_hash

Make = Callable[..., StudySpec]


def test_the_hash_of_the_code_changes_with_a_named_package_only(
    make_spec: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = make_spec()
    own = code_hash.code_hash(spec)
    assert code_hash.code_hash(make_spec(seed=9)) == own
    file = tmp_path / "spirals_of_a_user.py"
    file.write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    points = [EntryPoint("spirals", "spirals_of_a_user:Spirals", "gradnoise.workloads")]
    monkeypatch.setattr(
        code_hash, "entry_points", lambda group: points if group == "gradnoise.workloads" else []
    )
    assert code_hash.code_hash(spec) == own
    first = code_hash.code_hash(make_spec(workload="spirals"))
    file.write_text("x = 2\n")
    assert own != first != code_hash.code_hash(make_spec(workload="spirals")) != own


def test_every_python_file_of_a_package_is_hashed(
    make_spec: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_hash, "PACKAGES", ("gradnoise",))
    folder = Path(gradnoise.__file__).parent
    digest = hashlib.sha256()
    for name in sorted(
        f"gradnoise/{p.relative_to(folder).as_posix()}" for p in folder.rglob("*.py")
    ):
        content = (folder.parent / name).read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    assert code_hash.code_hash(make_spec()) == digest.hexdigest()
