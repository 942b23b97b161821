"""What can go wrong with a study.

StudyError
├── NotFoundError                 no study, trial or token of this owner has the id or name
├── InvalidSpecError              the study cannot run; carries one FieldFault for each fault
├── UnauthenticatedError          the token is missing, unknown or expired
├── ForbiddenError                the token lacks the scope
├── CatalogueEmptyError           no worker has announced its workloads yet
└── ConflictError                 the request is valid, the state does not allow it
    ├── NameTakenError            another study has this name; carries a free one
    ├── StudyFinishedError        the study has ended and cannot change
    ├── StudyNotCompleteError     the study has no verdict that more seeds could sharpen
    ├── IdempotencyMismatchError  the same Idempotency-Key came with another body
    ├── ReportNotReadyError       no trial has ended, so there is nothing to report
    └── LeaseLostError            another holder has the study, or it was cancelled
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FieldFault:
    """One fault in a request: the dotted path of the field, the value it had, what is wrong, what
    would be legal.
    """

    field: str
    value: object
    message: str
    legal: str


class StudyError(Exception):
    """Something is wrong with the request or the study."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__class__.__doc__)


class NotFoundError(StudyError):
    """There is no such thing, or it belongs to another owner."""


class InvalidSpecError(StudyError):
    """The study cannot be searched as described."""

    def __init__(self, errors: Sequence[FieldFault]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in self.errors))


class UnauthenticatedError(StudyError):
    """A valid token is needed: send it as `Authorization: Bearer TOKEN`."""


class ForbiddenError(StudyError):
    """The token does not have the scope that this needs."""


class CatalogueEmptyError(StudyError):
    """No worker has announced its workloads yet: wait until one has started, then try again."""


class ConflictError(StudyError):
    """The study is in a state that does not allow this."""


class NameTakenError(ConflictError):
    """Another study already has this name."""

    def __init__(self, name: str, free_name: str) -> None:
        self.name = name
        self.free_name = free_name
        super().__init__(f"A study named {name!r} exists already; {free_name!r} is free.")


class StudyFinishedError(ConflictError):
    """The study has already ended."""


class StudyNotCompleteError(ConflictError):
    """Only a complete study can be extended."""


class IdempotencyMismatchError(ConflictError):
    """This Idempotency-Key was used before with another body: send a new key for a new study."""


class ReportNotReadyError(ConflictError):
    """No trial has finished yet, so there is nothing to report."""


class LeaseLostError(ConflictError):
    """The lease on this study has passed to another holder, or the study was cancelled."""
