"""The log of a study: what its trials have printed."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from gradnoise_service.domain.spec import Phase

ATTEMPT_CHARACTERS = 32_768
STUDY_CHARACTERS = 64_000_000
LEAST_CHARACTERS = 512


@dataclass(frozen=True, kw_only=True)
class LogPiece:
    """A text that an attempt of a trial has printed.

    Args:
        id: Grows in the order in which the pieces of a study were stored.
        attempt: The number of the attempt, from 1.
        position: Characters that the attempt printed before, also those that were left out.
    """

    id: int
    trial_id: int
    phase: Phase
    arm: str
    number: int
    attempt: int
    position: int
    text: str

    @property
    def trial(self) -> str:
        """The trial as `phase/arm/number`."""
        return f"{self.phase}/{self.arm}/{self.number}"


@dataclass(frozen=True, kw_only=True)
class AttemptRecord:
    """An attempt of a trial.

    Args:
        number: Counts from 1.
        outcome: `running`, the state in which it ended its trial, or why another followed:
            `failed`; `worker_lost`, while it trained; `stack_lost`, while it trained with others as
            one model; `displaced`, while it did not train; `orphaned`, with its dispatcher.
        error: Traceback; None without an error.
    """

    number: int
    outcome: str
    error: str | None
    device_seconds: float
    started_at: datetime
    finished_at: datetime | None


def n_kept(n_attempts: int) -> int:
    """Return how many characters are kept of an attempt's first ones, and of its last ones.

    All attempts together then keep at most about STUDY_CHARACTERS, unless they are so many that
    LEAST_CHARACTERS of each are more.

    Args:
        n_attempts: Attempts that the study makes at most.
    """
    share = STUDY_CHARACTERS // (2 * max(1, n_attempts))
    return max(LEAST_CHARACTERS, min(ATTEMPT_CHARACTERS, share))


def joined(pieces: Iterable[LogPiece]) -> str:
    """Return the text of an attempt's pieces, with a note where some of it was left out."""
    text, end = "", 0
    for piece in pieces:
        text += gap(end, piece.position) + piece.text
        end = piece.position + len(piece.text)
    return text


def gap(end: int, position: int) -> str:
    """Return the note between a text that ended at one position and one that starts at another."""
    return f"[{position - end} characters left out]\n" if position > end else ""
