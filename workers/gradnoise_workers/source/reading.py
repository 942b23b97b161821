"""Reading a user's file from the disk, with what it imports and what it declares."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from gradnoise_service.domain.errors import InvalidSpecError
from gradnoise_service.domain.source import Source, check_size
from gradnoise_workers.source.declarations import chosen
from gradnoise_workers.source.faults import SourceError, fault_of
from gradnoise_workers.source.imports import closure
from gradnoise_workers.source.opening import opened


@dataclass(frozen=True, kw_only=True)
class Read:
    """A file that was read: its source, and the name of the workload that was chosen in it."""

    source: Source
    workload: str


@contextmanager
def read(path: Path, choice: str = "") -> Iterator[Read]:
    """Read and import a file, and hold it open within a block.

    Args:
        path: The file.
        choice: The workload, by its name or that of its function or class; empty for the only one.

    Raises:
        SourceError: If the file cannot be read or imported, or does not declare one workload.
    """
    path = path.resolve()
    files = _files(path)
    source = Source(name=path.name, files=files, folder=str(path.parent), announced={})
    with opened(source, reads_folder=True) as declared:
        workload = chosen(declared, path.name, choice)
        _check_size(files)
        ordered = dict(sorted(files.items()))
        yield Read(
            source=replace(source, files=ordered, announced=declared.document()), workload=workload
        )


def _files(path: Path) -> dict[str, str]:
    if path.suffix != ".py":
        raise SourceError(
            f"{path.name} is not a Python file.", "Give a file whose name ends in .py."
        )
    if not path.is_file():
        raise SourceError(
            f"{path} does not exist.", "`gradnoise new function DIR` writes an example."
        )
    try:
        return closure(path.name, lambda name: _text(path.parent / name))
    except SyntaxError as error:
        raise fault_of(error, path.parent) from None


def _text(file: Path) -> str | None:
    if not file.is_file():
        return None
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{file.name} is not UTF-8: byte {error.start}.", "Save it with the encoding UTF-8."
        ) from None


def _check_size(files: dict[str, str]) -> None:
    try:
        check_size(files)
    except InvalidSpecError as error:
        [fault] = error.errors
        raise SourceError(f"Too much code: {fault.message}.", f"Legal: {fault.legal}.") from None
