"""Exceptions as text: what a trial raised, for the record."""

import traceback
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Fault:
    """An exception as text.

    Args:
        summary: The line that names the exception and gives its message.
        error: The traceback.
    """

    summary: str
    error: str

    @classmethod
    def of(cls, error: BaseException) -> "Fault":
        last_lines = "".join(traceback.format_exception_only(error)).splitlines()
        # a SyntaxError shows its source, indented, before that line; torch adds advice after it
        summary = next(line for line in last_lines if line and not line[0].isspace())
        return cls(summary=summary, error="".join(traceback.format_exception(error)))


class FunctionError(Exception):
    """A training function failed, in its process.

    Args:
        fault: What it raised, with what it printed last.
        was_killed: Whether its process was killed, as by the system when memory runs out.
    """

    def __init__(self, fault: Fault, *, was_killed: bool = False) -> None:
        super().__init__(fault.summary)
        self.fault = fault
        self.was_killed = was_killed


def release_locals(error: BaseException) -> None:
    """Drop the local variables of the frames in which an exception and its causes were raised.

    They may hold much memory. The traceback still shows its lines.
    """
    found: BaseException | None = error
    while found is not None:
        traceback.clear_frames(found.__traceback__)
        found = found.__cause__ or found.__context__


class ExitError(Exception):
    """The code of a trial tried to end the process, as by `sys.exit`."""


def as_exception(error: Exception | SystemExit) -> Exception:
    """Return an exception; for a SystemExit, which would end the process, an ExitError."""
    if isinstance(error, Exception):
        return error
    return ExitError(f"the trial ended by {error!r}.").with_traceback(error.__traceback__)


class TimeLimitError(Exception):
    """A trial has trained for longer than it may.

    Args:
        seconds: The limit.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"the trial has not ended within its limit of {seconds:g} s of training "
            "(trial_time_limit)."
        )


class StallError(Exception):
    """A trial has shown no sign of life for longer than it may.

    Args:
        seconds: The limit.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"the trial has shown no sign of life for {seconds:g} s (trial_stall_limit): no "
            "report, print, checkpoint or file of a training function, no update of a declared "
            "workload."
        )


class EndlessPrintError(Exception):
    """A training function prints without end.

    Args:
        n_bytes: The limit.
    """

    def __init__(self, n_bytes: int) -> None:
        super().__init__(
            f"the function has printed more than {n_bytes:,} bytes since its last report."
        )


class UnfinishedError(Exception):
    """An epoch of a training function takes longer than the trainer waits at once."""
