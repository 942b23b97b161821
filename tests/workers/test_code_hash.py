"""The hash of the code covers the packages that a study names."""

import hashlib
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import gradnoise
from gradnoise_service.domain.source import Source
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


def test_the_code_of_a_part_is_its_module_with_what_it_imports_from_its_package(
    make_spec: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of an installed package, and of a single module; not what lies beside them."""
    package = tmp_path / "spirals_pack"
    package.mkdir()
    files = {
        "__init__.py": "",
        "model.py": "from spirals_pack import layers\nimport torch",
        "layers.py": "width = 1",
        "unrelated.py": "",
    }
    for name, text in files.items():
        (package / name).write_text(text)
    (tmp_path / "lone_optimizer.py").write_text("import spirals_pack")
    monkeypatch.syspath_prepend(str(tmp_path))
    points = {
        "gradnoise.workloads": [EntryPoint("spirals", "spirals_pack.model:Spirals", "g")],
        "gradnoise.optimizers": [EntryPoint("own", "lone_optimizer:OPTIMIZER", "g")],
    }
    monkeypatch.setattr(code_hash, "entry_points", lambda group: points.get(group, []))
    spec = make_spec(workload="spirals", optimizer="own")
    first = code_hash.part_hashes(spec)
    assert set(first) == {"workload spirals", "optimizer own"}
    assert first == code_hash.installed_hashes()
    (package / "unrelated.py").write_text("edited = True")
    assert code_hash.changed_parts(first, code_hash.part_hashes(spec)) == []
    (package / "layers.py").write_text("width = 2")
    now = code_hash.part_hashes(spec)
    assert code_hash.changed_parts(first, now) == ["workload spirals"]
    assert code_hash.changed_parts(first, {}) == []  # it is not installed here: trials will tell


def test_parts_that_a_source_declares_are_stored_and_not_hashed(make_spec: Make) -> None:
    announced = {"workloads": [{"name": "mlp"}], "techniques": [], "optimizers": []}
    source = Source(name="a.py", files={"a.py": ""}, folder="", announced=announced)
    assert "workload mlp" not in code_hash.part_hashes(make_spec(), source)
    assert "workload mlp" in code_hash.part_hashes(make_spec())
    assert code_hash.code_hash(make_spec(), source) != code_hash.code_hash(make_spec())
