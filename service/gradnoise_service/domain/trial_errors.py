"""Errors of trials: what an arm's first failed trial raised."""

import re
from dataclasses import dataclass
from pathlib import PurePath

from gradnoise_service.domain.spec import Phase

FRAME = re.compile(r'^  File "(?P<file>.+)", line (?P<line>\d+)(, in (?P<function>.+))?$')


@dataclass(frozen=True, kw_only=True)
class ArmError:
    """The first error of an arm.

    Args:
        arm: The arm.
        n_failed: How many of its trials failed for good; others are repeated.
        phase: The phase of the trial that raised the error first, by number.
        number: Its number.
        trial_id: Its id.
        error: What it raised, with the traceback.
    """

    arm: str
    n_failed: int
    phase: Phase
    number: int
    trial_id: int
    error: str

    @property
    def trial(self) -> str:
        """The name of the trial, as commands take it."""
        return f"{self.phase}/{self.arm}/{self.number}"

    @property
    def summary(self) -> str:
        """The error in one line."""
        return error_in_a_line(self.error)


def error_in_a_line(error: str) -> str:
    r"""Return type and message of an exception, and the last line of its traceback.

    Args:
        error: What a trial raised, with the traceback if there is one.

    >>> error_in_a_line('  File "/a/train.py", line 3, in train\n    f()\nKeyError: 1\n')
    'KeyError: 1 (train.py, line 3, in train)'
    >>> error_in_a_line("the worker died")
    'the worker died'
    """
    lines = error.rstrip().splitlines()
    frames = [(i, found) for i, line in enumerate(lines) if (found := FRAME.match(line))]
    if not frames:
        return lines[-1].strip() if lines else ""
    last, frame = frames[-1]
    after = (line for line in lines[last + 1 :] if line and not line[0].isspace())
    function = f", in {frame['function']}" if frame["function"] else ""
    place = f"{PurePath(frame['file']).name}, line {frame['line']}{function}"
    return f"{next(after, lines[-1].strip())} ({place})"
