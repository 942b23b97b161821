"""Use cases on the trials of a study, their measurements, their attempts and their logs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gradnoise_service.domain.access import Caller
from gradnoise_service.domain.log import AttemptRecord, LogPiece, joined
from gradnoise_service.domain.spec import Phase
from gradnoise_service.domain.study import Measurement, Trial, TrialState
from gradnoise_service.store import attempts, logs, measurements, studies, trials
from gradnoise_service.store.database import Session
from gradnoise_service.usecases.service import Service
from gradnoise_service.usecases.slices import Slice, sliced


def page(
    service: Service,
    caller: Caller,
    study_id: int,
    *,
    after: int,
    limit: int,
    arm: str | None = None,
    phase: Phase | None = None,
    state: TrialState | None = None,
) -> Slice[Trial]:
    """Return up to `limit` trials of a study with ids above `after`, in the order of their ids.

    Raises:
        NotFoundError: If there is no visible study with this id.
    """
    with service.database.session() as session:
        studies.describe(session, study_id, caller.visible_owner)
        found = trials.page(
            session, study_id, after=after, limit=limit + 1, arm=arm, phase=phase, state=state
        )
    return sliced(found, limit)


def latest(service: Service, caller: Caller, study_id: int, limit: int) -> Sequence[Trial]:
    """Return up to `limit` trials of a study: those that run, then those that ended last.

    Raises as `page`.
    """
    with service.database.session() as session:
        studies.describe(session, study_id, caller.visible_owner)
        return trials.latest(session, study_id, limit)


def measurements_of(
    service: Service, caller: Caller, study_id: int, trial_id: int
) -> Sequence[Measurement]:
    """Return the measurements of a trial by epoch.

    Raises:
        NotFoundError: If there is no such trial, or its study is not visible.
    """
    with _trial(service, caller, study_id, trial_id) as (session, _):
        return measurements.of_trial(session, trial_id)


def show(service: Service, caller: Caller, study_id: int, trial_id: int) -> Trial:
    """Return a trial; raises as `measurements_of`."""
    with _trial(service, caller, study_id, trial_id) as (_, trial):
        return trial


def attempts_of(
    service: Service, caller: Caller, study_id: int, trial_id: int
) -> Sequence[AttemptRecord]:
    """Return the attempts of a trial in order; raises as `measurements_of`."""
    with _trial(service, caller, study_id, trial_id) as (session, _):
        return attempts.of_trial(session, trial_id)


def logs_of(
    service: Service, caller: Caller, study_id: int, trial_id: int
) -> Sequence[tuple[AttemptRecord, str]]:
    """Return the attempts of a trial with what each has printed; raises as `measurements_of`."""
    with _trial(service, caller, study_id, trial_id) as (session, _):
        pieces = logs.of_trial(session, trial_id)
        of_trial = attempts.of_trial(session, trial_id)
        return [(attempt, joined(pieces.get(attempt.number, ()))) for attempt in of_trial]


def log_page(
    service: Service,
    caller: Caller,
    study_id: int,
    *,
    after: int,
    limit: int,
    trial_id: int | None = None,
) -> Slice[LogPiece]:
    """Return up to `limit` pieces of a study's log with ids above `after`, in stored order.

    Raises:
        NotFoundError: If there is no visible study with this id.
    """
    with service.database.session() as session:
        studies.describe(session, study_id, caller.visible_owner)
        found = logs.page(session, study_id, after=after, limit=limit + 1, trial_id=trial_id)
    return sliced(found, limit)


@contextmanager
def _trial(
    service: Service, caller: Caller, study_id: int, trial_id: int
) -> Iterator[tuple[Session, Trial]]:
    """Open a session and yield it with a trial; raises NotFoundError as the store."""
    with service.database.session() as session:
        studies.describe(session, study_id, caller.visible_owner)
        yield session, trials.get(session, study_id, trial_id)
