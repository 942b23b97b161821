"""Files of the user on this machine: read, checked, and stored for their studies.

Another process imports them, so that this one loads neither torch nor the user's code.
"""

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from gradnoise_service.domain.source import IMPORT_HINT, IMPORT_TOO_LONG, Source
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.local.errors import (
    FileExistsAlreadyError,
    FileProcessError,
    LocalServiceError,
    SourceFileError,
)
from gradnoise_service.local.service_process import module_command
from gradnoise_service.settings import Settings
from gradnoise_service.store import sources
from gradnoise_service.store.database import open_database
from gradnoise_service.usecases.callers import identify
from gradnoise_service.usecases.service import Service


@dataclass(frozen=True, kw_only=True)
class ReadFile:
    """A file that was read.

    Args:
        source: The file with the modules that it imports.
        workload: The name of its workload.
        catalogue: What is installed in this environment, as workers announce it.
    """

    source: Source
    workload: str
    catalogue: Mapping[str, Any]


def read_file(path: Path, choice: str = "") -> ReadFile:
    """Read a file in another process.

    Args:
        path: The file.
        choice: The workload, if the file declares several.

    Raises:
        SourceFileError: If the file cannot be imported, or does not declare one workload.
        FileProcessError: If the process that imports it ends early.
    """
    [found] = answers({"path": str(path), "choice": choice}, path.name)
    return ReadFile(**{**found, "source": Source(**found["source"])})


def check(source: Source, spec: StudySpec) -> Iterator[Mapping[str, Any]]:
    """Yield what a short trial of each arm shows; see `gradnoise_workers.source.checking`.

    Raises:
        SourceFileError: If the code cannot be imported.
        FileProcessError: If the process ends early.
    """
    request = {"source": asdict(source), "spec": spec.model_dump(mode="json")}
    found = answers(request, source.name)
    next(found)  # it is imported
    return found


def keep(settings: Settings, source: Source, token: str | None) -> None:
    """Store a source in the database of the home folder, for the owner of the token.

    It goes past the API, which takes no code on a loopback address: whoever can write the database
    of a home folder owns what runs from it.
    """
    database = open_database(settings.database)
    try:
        service = Service(
            settings=settings,
            database=database,
            clock=lambda: datetime.now(UTC),
            admin_token=settings.bootstrap_token,
        )
        caller = identify(service, token)
        owner = "local" if caller is None else caller.owner
        with database.session(write=True) as session:
            sources.keep(session, source, owner=owner, now=service.clock())
    finally:
        database.dispose()


def changed_files(source: Source) -> list[str]:
    """Return the files of a source that no longer have the text that was read from them."""
    return [name for name, text in source.files.items() if _text(source, name) != text]


def write(source: Source, folder: Path) -> None:
    """Write the files of a source into a folder.

    Raises:
        FileExistsAlreadyError: If one of them exists; nothing is written then.
        LocalServiceError: If one of them would lie outside the folder.
    """
    files = {
        folder.joinpath(*PurePosixPath(name).parts): text for name, text in source.files.items()
    }
    for file in files:
        if not file.resolve().is_relative_to(folder.resolve()):
            raise LocalServiceError(f"{file} would lie outside {folder}.")
        if file.exists():
            raise FileExistsAlreadyError(file)
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def _text(source: Source, name: str) -> str | None:
    try:
        return (Path(source.folder) / name).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None


def answers(
    request: Mapping[str, Any], name: str, module: str = "gradnoise_workers.source"
) -> Iterator[Mapping[str, Any]]:
    """Yield what another process answers to a request for which it runs a user's code.

    Args:
        request: The request.
        name: What is imported, for errors.
        module: The module that answers; see `gradnoise_workers.source.answering`.

    Raises:
        SourceFileError: If the answer is a fault, or the import does not end in time.
        FileProcessError: If the process ends early.
    """
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output,
        subprocess.Popen(
            module_command(module),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        json.dump(request, process.stdin)
        process.stdin.close()
        try:
            for line in process.stdout:
                answer = json.loads(line)
                if "fault" in answer:
                    raise SourceFileError(**answer["fault"])
                yield answer
            if process.wait():
                output.seek(0)
                raise _ended_early(name, output.read())
        finally:
            process.kill()


def _ended_early(name: str, output: str) -> LocalServiceError:
    """Return why a process ended before its answer, by its output."""
    timeout = re.search(r"^Timeout \((.+)\)!$", output, re.MULTILINE)
    if timeout is None:
        return FileProcessError(name, output)
    where = re.search(rf'^  File ".*\b{re.escape(name)}", line (\d+)', output, re.MULTILINE)
    line = f", line {where[1]}" if where else ""
    return SourceFileError(f"{name}{line}: {IMPORT_TOO_LONG} ({timeout[1]}).", IMPORT_HINT)
