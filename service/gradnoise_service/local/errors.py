"""Errors of the service on this machine.

LocalServiceError
├── SettingsError                 a GRADNOISE_* variable has an illegal value
├── PortTakenError                nothing can listen on a port
├── NotReadyError                 the service did not become ready in time
├── SourceFileError               a file cannot be imported, or declares no single workload
├── FileProcessError              the process that imports a file ended early
├── CheckFailedError              an arm of a file's study cannot be trained
├── FileExistsAlreadyError        a command would overwrite a file
├── DatabaseError                 the database cannot be upgraded, pruned, backed up or restored
├── StudyFaultsError              the study of a file cannot run as the options describe it
└── SupervisorError               the processes of the service cannot run
    ├── AlreadyRunningError       another supervisor runs the service from this home folder
    ├── DatabaseNotPreparedError  the database could not be created or upgraded
    ├── SocketPathError           the paths of Ray's sockets would be too long
    └── CrashLoopError            a process ended repeatedly soon after its start
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from gradnoise_service.domain.errors import FieldFault
from gradnoise_service.settings import faults_of

N_LAST_LINES = 12
"""Lines of a failed process's output that an error carries."""


class LocalServiceError(Exception):
    """The service cannot run on this machine; `details` are further lines for the user."""

    details: Sequence[str] = ()


class SettingsError(LocalServiceError):
    """A `GRADNOISE_*` variable has an illegal value; `details` has a line for each fault."""

    def __init__(self, error: ValidationError) -> None:
        self.details = faults_of(error)
        super().__init__("Invalid settings in the environment.")


class PortTakenError(LocalServiceError):
    """Nothing can listen on a port; `holder` describes the process that uses it, if known."""

    details = ("Stop that process, or choose other ports with --port and --dashboard-port.",)

    def __init__(self, host: str, port: int, holder: str | None, reason: str) -> None:
        self.host = host
        self.port = port
        self.holder = holder
        cause = f"it is in use by {holder}" if holder else reason
        super().__init__(f"Cannot listen on {host}:{port}: {cause}.")


class NotReadyError(LocalServiceError):
    """The service did not become ready in time; `details` names what is missing."""

    def __init__(self, seconds: float, missing: Sequence[str], log_folder: Path) -> None:
        self.details = (*missing, f"Logs: {log_folder}")
        super().__init__(f"The service was not ready after {seconds:g} s.")


class SourceFileError(LocalServiceError):
    """A file cannot be imported, or declares no single workload.

    `details` holds the hint and the user's part of the traceback.
    """

    def __init__(self, message: str, hint: str, trace: str = "") -> None:
        self.details = (hint, *trace.splitlines())
        super().__init__(message)


class FileProcessError(LocalServiceError):
    """The process that imports a file ended early; `details` is the end of its output."""

    def __init__(self, name: str, output: str) -> None:
        self.details = tuple(f"| {line}" for line in output.strip().splitlines()[-N_LAST_LINES:])
        super().__init__(f"The process that imports {name} ended early.")


class CheckFailedError(LocalServiceError):
    """An arm of a file's study cannot be trained; `details` is the traceback of its trial."""

    def __init__(self, arm: str, error: str, trace: str) -> None:
        self.details = tuple(trace.rstrip().splitlines())
        super().__init__(f"The arm {arm!r} cannot be trained: {error}")


class FileExistsAlreadyError(LocalServiceError):
    """A command would overwrite a file."""

    details = ("Choose another folder, or move the file.",)

    def __init__(self, file: Path) -> None:
        super().__init__(f"{file} exists already.")


class DatabaseError(LocalServiceError):
    """The database cannot be upgraded, pruned, backed up or restored, as the message says."""


class StudyFaultsError(LocalServiceError):
    """The study of a file cannot run as described; `details` has a line for each fault."""

    def __init__(self, faults: Sequence[FieldFault]) -> None:
        self.details = tuple(
            f"{fault.field}{'' if fault.value is None else f' = {fault.value!r}'}: "
            f"{fault.message}; legal: {fault.legal}"
            for fault in faults
        )
        super().__init__("The study cannot be run as described.")


class SupervisorError(LocalServiceError):
    """The processes of the service cannot run.

    `last_lines` is the end of the failed process's output, and `log_file` contains all of it.
    """

    def __init__(
        self, message: str, last_lines: Sequence[str] = (), log_file: Path | None = None
    ) -> None:
        self.last_lines = tuple(last_lines)[-N_LAST_LINES:]
        self.log_file = log_file
        log_hint = [f"Full log: {log_file}"] if log_file else []
        self.details = (*(f"| {line}" for line in self.last_lines), *log_hint)
        super().__init__(message)


class AlreadyRunningError(SupervisorError):
    """Another supervisor runs the service from this home folder."""

    def __init__(self, home: Path, pid: int | None, url: str | None) -> None:
        self.home = home
        where = f"process {pid}, at {url}" if url else "it is starting"
        super().__init__(f"The service already runs from {home}: {where}.")
        self.details = ("Use it, stop it first, or choose another folder with --home.",)


class DatabaseNotPreparedError(SupervisorError):
    """The database could not be created or upgraded."""

    def __init__(self, code: int, output: str, log_file: Path) -> None:
        lines = output.strip().splitlines()
        cause = lines[-1] if lines else f"exit code {code}"
        shown = lines if len(lines) > 1 else ()
        super().__init__(f"The database cannot be prepared: {cause}", shown, log_file)


class SocketPathError(SupervisorError):
    """The paths of Ray's sockets would be too long."""

    details = ("Set RAY_TMPDIR to a shorter folder, such as /tmp.",)

    def __init__(self, folder: str, n_bytes: int, max_bytes: int) -> None:
        super().__init__(
            f"Ray cannot start: its sockets in {folder} would have paths of {n_bytes} bytes, but "
            f"the system permits {max_bytes}."
        )


class CrashLoopError(SupervisorError):
    """A process ended repeatedly soon after its start."""

    def __init__(
        self, name: str, code: int, n_deaths: int, last_lines: Sequence[str], log_file: Path
    ) -> None:
        self.name = name
        message = (
            f"The process {name!r} ended {n_deaths} times in a row soon after its start, last "
            f"with exit code {code}."
        )
        super().__init__(message, last_lines, log_file)
