"""Files are kept whole, within their bounds, on any file system."""

import hashlib
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import pytest
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

from gradnoise.training.files import Files, SavedFile


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a file.txt"
    path.write_bytes(b"content")
    return path


def saved(name: str, content: bytes) -> SavedFile:
    return SavedFile(name=name, n_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def test_a_file_replaces_that_of_the_same_name(tmp_path: Path, file: Path) -> None:
    files = Files(url=str(tmp_path / "kept"))
    assert files.keep("1/2", "w.txt", file) == saved("w.txt", b"content")
    file.write_bytes(b"other")
    assert files.keep("1/2", "w.txt", file) == saved("w.txt", b"other")
    assert files.keep("1/3", "w.txt", file) == saved("w.txt", b"other")
    kept = {
        str(path.relative_to(tmp_path / "kept")): path.read_bytes()
        for path in (tmp_path / "kept").rglob("*")
        if path.is_file()
    }
    assert kept == {"1/2/w.txt": b"other", "1/3/w.txt": b"other"}


def test_a_file_is_deleted_once(tmp_path: Path, file: Path) -> None:
    files = Files(url=str(tmp_path / "kept"))
    files.keep("1/2", "w.txt", file)
    for _ in range(2):
        files.delete("1/2", "w.txt")
        assert list((tmp_path / "kept" / "1" / "2").iterdir()) == []


def test_a_file_system_of_fsspec_keeps_files_too(file: Path) -> None:
    assert Files(url="memory://bucket/kept").keep("1/2", "w.txt", file).n_bytes == 7
    assert fsspec.filesystem("memory").cat("/bucket/kept/1/2/w.txt") == b"content"


def test_nothing_is_left_of_a_file_that_is_refused_or_cannot_be_written(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "kept"
    with pytest.raises(ValueError, match=r"at most 6 bytes, but .* has 7"):
        Files(url=str(folder), most_bytes=6).keep("1", "w.txt", file)
    with pytest.raises(FileNotFoundError):
        Files(url=str(folder)).keep("1", "w.txt", tmp_path / "none")
    assert not folder.exists()
    with pytest.raises(IsADirectoryError):
        Files(url=str(folder)).keep("1", "w.txt", tmp_path)

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(LocalFileSystem, "mv", fail)
    with pytest.raises(OSError, match="no space left"):
        Files(url=str(folder)).keep("1", "w.txt", file)
    assert list((folder / "1").iterdir()) == []


def test_without_a_place_a_file_is_only_checked(tmp_path: Path, file: Path) -> None:
    assert Files(url=str(tmp_path / "kept")).keep("", "w.txt", file).n_bytes == 7
    assert not (tmp_path / "kept").exists()


def test_bounds_below_a_byte_are_refused() -> None:
    with pytest.raises(ValueError, match="most_bytes must be at least 1, but got most_bytes=0"):
        Files(url="x", most_bytes=0)
