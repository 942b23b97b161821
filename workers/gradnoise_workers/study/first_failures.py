"""First failures: whether every trial of an arm fails at once, with the same error."""

from collections.abc import Iterable

from gradnoise_service.store.attempts import SUSPECTED_OUTCOMES, UNCOUNTED_LOSSES
from gradnoise_workers.study.decisions import Attempt, Ending

LOST_OUTCOMES = {*SUSPECTED_OUTCOMES, *UNCOUNTED_LOSSES}
ENOUGH = 3
"""Trials of an arm that fail with the same error before the study is given up."""


class FirstFailures:
    """The failures of each arm that has measured nothing yet."""

    def __init__(self) -> None:
        self._errors: dict[str, dict[int, str]] = {}
        self._works: set[str] = set()

    def add(self, attempts: Iterable[Attempt], endings: Iterable[Ending]) -> str | None:
        """Take attempts and endings into account; return why the study cannot succeed, or None.

        The reason is that the first ENOUGH trials of an arm raised the same error before their
        first measurement, and no attempt of the arm measured anything. A lost worker, and an
        attempt that diverged, is no such failure.
        """
        self._works |= {attempt.trial.arm for attempt in attempts if attempt.epoch}
        for end in endings:
            trial = end.attempt.trial
            if end.outcome != "failed":
                if end.outcome not in LOST_OUTCOMES:
                    self._works.add(trial.arm)
                continue
            self._errors.setdefault(trial.arm, {}).setdefault(trial.id, end.error or "")
        for arm, errors in self._errors.items():
            if arm in self._works or len(errors) < ENOUGH:
                continue
            last_lines = {error.strip().rpartition("\n")[2] for error in errors.values()}
            if len(last_lines) == 1:
                return (
                    f"Every trial of {arm} fails with the same error before its first measurement. "
                    f"The first error:\n{next(iter(errors.values()))}"
                )
        return None
