"""What a study has left, to be compared with what its undisturbed twin has left."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from gradnoise_service.domain.study import Study
from gradnoise_service.store import measurements, trials
from gradnoise_service.store.database import Database
from gradnoise_service.store.tables import AttemptRow, TrialRow

OF_ATTEMPT = "resumed_after"
"""What the function measures of its attempt, not of its training."""


@dataclass(frozen=True)
class Outcome:
    """What a study has left: every trial with its measurements, and the comparison."""

    trials: dict[tuple[str, str, int], tuple[Any, ...]]
    comparison: Any

    def differences(self, other: "Outcome", *, of_all: bool = True) -> list[str]:
        """Return what differs from the outcome of a twin, as sentences.

        Args:
            other: The outcome of the twin.
            of_all: False for a study that was stopped: its trials are some of its twin's.
        """
        keys = self.trials.keys() | (other.trials.keys() if of_all else set())
        found = [
            f"trial {key}: {first_difference(self.trials.get(key), other.trials.get(key))}"
            for key in sorted(keys)
            if self.trials.get(key) != other.trials.get(key)
        ]
        if of_all and self.comparison != other.comparison:
            found.append(f"comparison: {first_difference(self.comparison, other.comparison)}")
        return found


def outcome(database: Database, study: Study) -> Outcome:
    """Return the outcome of a study that has ended."""
    found = {}
    with database.session() as session:
        for trial in trials.of_study(session, study.id):
            rows = measurements.of_trial(session, trial.id)
            assert [row.epoch for row in rows] == list(range(1, len(rows) + 1)), trial
            found[trial.phase, trial.arm, trial.number] = (
                trial.seed,
                trial.params,
                trial.state,
                trial.value,
                trial.diverged,
                [{**row.values, OF_ATTEMPT: 0.0} for row in rows],
            )
    return Outcome(found, without_costs(study.comparison))


def first_difference(found: Any, expected: Any) -> str:
    """Return the first part in which two values differ."""
    if isinstance(found, list | tuple) and isinstance(expected, list | tuple):
        found, expected = dict(enumerate(found)), dict(enumerate(expected))
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in {**expected, **found}:
            if found.get(key) != expected.get(key):
                return f"{key}: {first_difference(found.get(key), expected.get(key))}"
    return f"{found!r} in place of {expected!r}"


def without_costs(value: Any) -> Any:
    """Return a comparison without what depends on the machine, its faults and a retry."""
    left_out = {"protocol", "device_seconds", "seconds", "n_attempts", "warnings", "resources"}
    if isinstance(value, dict):
        return {key: without_costs(part) for key, part in value.items() if key not in left_out}
    if isinstance(value, list):
        return [without_costs(part) for part in value if not _is_retry(part)]
    return value


def _is_retry(finding: Any) -> bool:
    return isinstance(finding, dict) and finding.get("kind") == "retried"


def n_attempts(database: Database, study: Study, outcomes: Sequence[str]) -> int:
    """Return how many attempts of a study's trials have one of these outcomes."""
    query = (
        select(AttemptRow.lease_token)
        .join(TrialRow, AttemptRow.trial_id == TrialRow.id)
        .where(TrialRow.study_id == study.id, AttemptRow.outcome.in_(outcomes))
    )
    with database.session() as session:
        return len(session.scalars(query).all())
