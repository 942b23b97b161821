"""Use cases on the trials of a study and their measurements."""

from collections.abc import Sequence

from gradnoise_service.domain.access import Caller
from gradnoise_service.domain.errors import NotFoundError
from gradnoise_service.domain.spec import Phase
from gradnoise_service.domain.study import Measurement, Trial, TrialState
from gradnoise_service.store import measurements, studies, trials
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
        studies.get(session, study_id, caller.visible_owner)
        found = trials.page(
            session, study_id, after=after, limit=limit + 1, arm=arm, phase=phase, state=state
        )
    return sliced(found, limit)


def latest(service: Service, caller: Caller, study_id: int, limit: int) -> Sequence[Trial]:
    """Return up to `limit` trials of a study: those that run, then those that ended last.

    Raises as `page`.
    """
    with service.database.session() as session:
        studies.get(session, study_id, caller.visible_owner)
        return trials.latest(session, study_id, limit)


def measurements_of(
    service: Service, caller: Caller, study_id: int, trial_id: int
) -> Sequence[Measurement]:
    """Return the measurements of a trial by epoch.

    Raises:
        NotFoundError: If there is no such trial, or its study is not visible.
    """
    with service.database.session() as session:
        studies.get(session, study_id, caller.visible_owner)
        next_trials = trials.page(session, study_id, after=trial_id - 1, limit=1)
        if not any(trial.id == trial_id for trial in next_trials):
            raise NotFoundError(f"Study {study_id} has no trial {trial_id}.")
        return measurements.of_trial(session, trial_id)
