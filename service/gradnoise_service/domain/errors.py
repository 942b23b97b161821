"""What can go wrong with a study.

StudyError
├── NotFoundError                 no study, trial or token of this owner has the id or name
├── InvalidSpecError              the study cannot run; carries one FieldFault for each fault
├── UnauthenticatedError          the token is missing, unknown or expired
├── ForbiddenError                the token lacks the scope
│   └── CodeNotAllowedError       this service takes no code
├── CatalogueEmptyError           no worker has announced its workloads yet
├── DatabaseUnavailableError      the database does not answer
└── ConflictError                 the request is valid, the state does not allow it
    ├── NameTakenError            the owner has a study of this name; carries a free name
    ├── AmbiguousNameError        several owners have a suite of this name
    ├── StudyRunningError         the study runs, and cannot be deleted
    ├── VerbNotAllowedError       the verb is not allowed in the study's state
    ├── NothingToStopError        too little of the study has run to be reported
    ├── NothingToRetryError       no trial of the study's last phase has failed
    ├── CodeChangedError          the study ran other code than is installed now
    ├── StudyNotCompleteError     the study has no verdict that more seeds could sharpen
    ├── IdempotencyMismatchError  the same Idempotency-Key came with another body
    ├── ReportNotReadyError       no trial has ended, so there is nothing to report
    └── LeaseLostError            another holder has the study, or it was cancelled
"""

from collections.abc import Sequence
from dataclasses import dataclass

MAX_FAULTS = 50
"""Faults of a study that are reported; then the search for others ends."""


@dataclass(frozen=True, kw_only=True)
class FieldFault:
    """A fault of one field: its dotted path, its value, what is wrong, and what is legal."""

    field: str
    value: object
    message: str
    legal: str


class StudyError(Exception):
    """The request or the study is invalid.

    Attributes:
        message: Shown where the error is raised without one.
    """

    message = "The request or the study is invalid."

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.message)


class NotFoundError(StudyError):
    """No study, trial or token of the owner has the id or name."""

    message = "Not found, or it belongs to another owner."


class InvalidSpecError(StudyError):
    """The study cannot run; of many faults the first are kept, one more than are reported."""

    def __init__(self, errors: Sequence[FieldFault]) -> None:
        self.errors = tuple(errors[: MAX_FAULTS + 1])
        super().__init__("; ".join(f"{fault.field}: {fault.message}" for fault in self.errors))


class UnauthenticatedError(StudyError):
    """The token is missing, unknown or expired."""

    message = "A valid token is required: send it as `Authorization: Bearer TOKEN`."


class ForbiddenError(StudyError):
    """The token lacks the scope."""

    message = "The token lacks the required scope."


class CodeNotAllowedError(ForbiddenError):
    """This service takes no code."""

    message = "This service takes no code: its studies train workloads that are installed."


class CatalogueEmptyError(StudyError):
    """No worker has announced its workloads yet."""

    message = "No worker has announced its workloads yet: wait for one to start, then try again."


class DatabaseUnavailableError(StudyError):
    """The database does not answer."""

    message = "The database does not answer; whether the request had an effect is unknown."


class ConflictError(StudyError):
    """The request is valid, the state does not allow it."""

    message = "The study is in a state that does not allow this."


class NameTakenError(ConflictError):
    """The owner has a study of this name."""

    def __init__(self, name: str, free_name: str, study_id: int) -> None:
        self.name = name
        self.free_name = free_name
        self.study_id = study_id
        super().__init__(f"A study named {name!r} exists already; {free_name!r} is free.")


class AmbiguousNameError(ConflictError):
    """Several owners have a suite of this name."""

    def __init__(self, name: str, owners: Sequence[str]) -> None:
        self.owners = tuple(owners)
        super().__init__(f"Several owners have a suite named {name!r}: {', '.join(owners)}.")


class StudyRunningError(ConflictError):
    """The study runs, and cannot be deleted."""

    message = "The study runs, and cannot be deleted."


class VerbNotAllowedError(ConflictError):
    """The verb is not allowed in the study's state.

    Args:
        name: Name of the study.
        state: Its state.
        participle: What cannot be done, such as `paused`.
        states: The states in which it can.
    """

    def __init__(self, name: str, state: str, participle: str, states: Sequence[str]) -> None:
        self.state = state
        *most, last = states
        legal = f"{', '.join(most)} or {last}" if most else last
        super().__init__(
            f"Study {name!r} is {state}; only a study that is {legal} can be {participle}."
        )


class NothingToStopError(ConflictError):
    """Too little of the study has run to be reported, or its search has ended."""

    message = "Too little of the study has run to be reported."


class NothingToRetryError(ConflictError):
    """No trial of the study's last phase has failed."""

    message = "No trial of the study's last phase has failed."


class StudyNotCompleteError(ConflictError):
    """The study has no verdict that more seeds could sharpen."""

    message = "Only a complete study can be extended."


class CodeChangedError(ConflictError):
    """The study ran other code than is installed now."""

    def __init__(self, parts: Sequence[str]) -> None:
        self.parts = tuple(parts)
        super().__init__(f"The code of {', '.join(parts)} has changed since the study ran.")


class IdempotencyMismatchError(ConflictError):
    """The same Idempotency-Key came with another body."""

    message = "This Idempotency-Key was used with another body: send a new key for a new study."


class ReportNotReadyError(ConflictError):
    """No trial has ended, so there is nothing to report."""

    message = "No trial has ended yet, so there is nothing to report."


class LeaseLostError(ConflictError):
    """Another holder has the study, or it was cancelled."""

    message = "The lease has passed to another holder, or the study was cancelled."
