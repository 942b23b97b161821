"""What can go wrong with a study.

StudyError
├── NotFound                  the id names nothing that this owner may see
├── InvalidSpec               the study cannot be searched; carries one FieldError a fault
├── Unauthenticated           no token, or one that is unknown or expired
├── Forbidden                 the token is known but lacks the scope
├── CatalogueEmpty            no worker has yet announced what it can train
└── Conflict                  the request is sound, the state is not
    ├── NameTaken             another study has this name; carries a free one
    ├── StudyFinished         the study has ended and cannot change
    ├── StudyNotComplete      the study has no verdict yet that more seeds could sharpen
    ├── IdempotencyMismatch   the same Idempotency-Key came with another body
    ├── ReportNotReady        nothing has been measured that a report could show
    └── LeaseLost             another holder has the study, or it was cancelled
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FieldError:
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


class NotFound(StudyError):
    """There is no such thing, or it belongs to another owner."""


class InvalidSpec(StudyError):
    """The study cannot be searched as described."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in self.errors))


class Unauthenticated(StudyError):
    """A valid token is needed: send it as `Authorization: Bearer TOKEN`."""


class Forbidden(StudyError):
    """The token does not have the scope that this needs."""


class CatalogueEmpty(StudyError):
    """No worker has announced its workloads yet: wait until one has started, then try again."""


class Conflict(StudyError):
    """The study is in a state that does not allow this."""


class NameTaken(Conflict):
    """Another study already has this name."""

    def __init__(self, name: str, free_name: str) -> None:
        self.name = name
        self.free_name = free_name
        super().__init__(f"A study named {name!r} exists already; {free_name!r} is free.")


class StudyFinished(Conflict):
    """The study has already ended."""


class StudyNotComplete(Conflict):
    """Only a complete study can be extended."""


class IdempotencyMismatch(Conflict):
    """This Idempotency-Key was used before with another body: send a new key for a new study."""


class ReportNotReady(Conflict):
    """No trial has finished yet, so there is nothing to report."""


class LeaseLost(Conflict):
    """The lease on this study has passed to another holder, or the study was cancelled."""
