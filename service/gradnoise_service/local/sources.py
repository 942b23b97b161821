"""Files of the user on this machine: read, checked, and stored for their studies.

Another process imports them, so that this one loads neither torch nor the user's code.
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gradnoise_service.domain.source import Source
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.local.errors import FileProcessError, SourceFileError
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
    return answers(request, source.name)


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


def has_changed(source: Source) -> bool:
    """True if a file of a source no longer has the text that was read from it."""
    for name, text in source.files.items():
        try:
            if (Path(source.folder) / name).read_text(encoding="utf-8-sig") != text:
                return True
        except (OSError, UnicodeDecodeError):
            return True
    return False


def answers(request: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    """Yield what the process `gradnoise_workers.source` answers to a request about a file.

    Raises:
        SourceFileError: If the answer is a fault.
        FileProcessError: If the process ends early.
    """
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output,
        subprocess.Popen(
            module_command("gradnoise_workers.source"),
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
                raise FileProcessError(name, output.read())
        finally:
            process.kill()
