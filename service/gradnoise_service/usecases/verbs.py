"""Verbs on studies: pause, resume, stop, cancel, retry, change of priority."""

from gradnoise_service.domain.access import Caller
from gradnoise_service.domain.study import Study
from gradnoise_service.store import verbs
from gradnoise_service.usecases.changed_code import check_code
from gradnoise_service.usecases.service import Service


def pause(service: Service, caller: Caller, study_id: int) -> Study:
    """Pause a study: its trials are checkpointed and its devices freed.

    Raises:
        NotFoundError: If there is no visible study with this id.
        VerbNotAllowedError: If the study has ended.
    """
    with service.database.session(write=True) as session:
        return verbs.pause(session, study_id, caller.visible_owner, service.clock())


def resume(service: Service, caller: Caller, study_id: int) -> Study:
    """Queue a paused study again; raises as `pause`."""
    with service.database.session(write=True) as session:
        return verbs.resume(session, study_id, caller.visible_owner, service.clock())


def stop(service: Service, caller: Caller, study_id: int, *, confirms: bool) -> Study:
    """Finish what has started of a study, and report on that.

    With `confirms` only the search is stopped, and its settings are confirmed.

    Raises:
        NotFoundError: As `pause`.
        VerbNotAllowedError: If the study has ended.
        NothingToStopError: If not every arm has started a trial; or, with `confirms`, if the search
            has ended.
    """
    with service.database.session(write=True) as session:
        return verbs.stop(
            session, study_id, caller.visible_owner, service.clock(), confirms=confirms
        )


def cancel(service: Service, caller: Caller, study_id: int) -> Study:
    """Cancel a study; its measurements are kept.

    Raises:
        NotFoundError: As `pause`.
        VerbNotAllowedError: If the study is complete or failed.
    """
    with service.database.session(write=True) as session:
        return verbs.cancel(session, study_id, caller.visible_owner, service.clock())


def retry(
    service: Service, caller: Caller, study_id: int, *, accepts_changed_code: bool = False
) -> Study:
    """Queue a failed or complete study again, with the failed trials of its last phase to be run.

    Raises:
        NotFoundError: As `pause`.
        VerbNotAllowedError: If the study has neither failed nor is complete.
        NothingToRetryError: If it is complete and no trial of its last phase has failed.
        CodeChangedError: If it ran other code than is installed now, and this is not accepted.
    """
    with service.database.session(write=True) as session:
        retried = verbs.retry(
            session,
            study_id,
            caller.visible_owner,
            service.clock(),
            accepts_changed_code=accepts_changed_code,
        )
        if not accepts_changed_code:
            check_code(session, retried)
        return retried


def prioritize(service: Service, caller: Caller, study_id: int, priority: int) -> Study:
    """Change the priority of a study that waits.

    Raises:
        NotFoundError: As `pause`.
        VerbNotAllowedError: If the study is neither queued nor paused.
    """
    with service.database.session(write=True) as session:
        return verbs.prioritize(session, study_id, caller.visible_owner, priority)
