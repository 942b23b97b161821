import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

machine_code = pytest.importorskip("gradnoise._kernels.machine_code")


def test_the_code_is_compiled_once_and_again_if_its_file_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[str] = []

    def object_file(name: str) -> bytes:
        compiled.append(name)
        return b"code"

    source = SimpleNamespace(object_file=object_file)
    monkeypatch.setitem(sys.modules, "gradnoise._kernels.compiled", source)

    def code() -> bytes:
        found: bytes = machine_code.machine_code("compiled", "gradnoise_compiled", ("job.py",))
        return found

    unwritable = tmp_path / "a file"
    unwritable.touch()
    monkeypatch.setattr(machine_code, "_folders", lambda: [unwritable, tmp_path / "new"])
    assert code() == code() == b"code"
    assert compiled == ["gradnoise_compiled"]
    (file,) = (tmp_path / "new").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    assert code() == b"code"
    assert len(compiled) == 2


def test_its_import_fails_if_numba_does_not_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    """As while other numba code is debugged; the portable kernel is used then."""
    numba = pytest.importorskip("numba")
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    monkeypatch.delitem(sys.modules, "gradnoise._kernels.intrinsics", raising=False)
    with pytest.raises(ImportError, match="NUMBA_DISABLE_JIT"):
        importlib.import_module("gradnoise._kernels.intrinsics")
