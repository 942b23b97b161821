"""Verbs on studies: pause, resume, stop, cancel, retry, change of priority.

Each reads the study under a lock, so that it excludes the dispatcher's writes, which begin with an
update of the study. A verb that has been done already changes nothing.
"""

from datetime import datetime

from sqlalchemy.orm import Session

from gradnoise_service.domain.errors import NothingToRetryError
from gradnoise_service.domain.stopping import stop_of
from gradnoise_service.domain.study import STUDY_ENDED, Study
from gradnoise_service.domain.verbs import Verb, applies
from gradnoise_service.store import attempts, leases, notices, studies, trials
from gradnoise_service.store.lease_times import is_held
from gradnoise_service.store.study_values import STOP, study_of
from gradnoise_service.store.tables import StudyRow


def pause(session: Session, study_id: int, owner: str | None, now: datetime) -> Study:
    """Pause a study: its holder checkpoints its trials and releases it.

    A study without a live holder is paused at once.

    Raises:
        NotFoundError: If no study that the owner may see has the id.
        VerbNotAllowedError: If it has ended.
    """
    row = studies.stored(session, study_id, owner, locked=True)
    if _applies("pause", row):
        if is_held(row, now):
            row.state = "pausing"
        else:
            row.state = "paused"
            leases.clear(row)
            attempts.orphan_running(session, study_id, now)
    return study_of(row)


def resume(session: Session, study_id: int, owner: str | None, now: datetime) -> Study:
    """Queue a paused study again; one that still pauses goes on.

    Raises:
        NotFoundError: As `pause`.
        VerbNotAllowedError: As `pause`.
    """
    row = studies.stored(session, study_id, owner, locked=True)
    if _applies("resume", row):
        is_stopped = study_of(row).design.ending_stop is not None
        if is_held(row, now):
            row.state = "stopping" if is_stopped else "running"
        else:
            row.state, row.started_at = "stopping" if is_stopped else "queued", None
            leases.clear(row)
            attempts.orphan_running(session, study_id, now)
    return study_of(row)


def stop(
    session: Session, study_id: int, owner: str | None, now: datetime, *, confirms: bool
) -> Study:
    """Stop a study: what has started is finished and reported, nothing else starts.

    What not every arm has started does not count. Trials that have not started are removed.

    Args:
        session: The transaction.
        study_id: The study.
        owner: Who may see the study; None for everyone.
        now: The time.
        confirms: Whether only the search is stopped, and its settings are confirmed.

    Raises:
        NotFoundError: As `pause`.
        VerbNotAllowedError: If it has ended.
        NothingToStopError: If not every arm has started a trial; or, with `confirms`, if the search
            has ended.
    """
    row = studies.stored(session, study_id, owner, locked=True)
    study = study_of(row)
    is_ending = study.design.ending_stop is not None and row.state not in ("cancelled", "failed")
    if is_ending or (confirms and study.stops and row.state not in STUDY_ENDED):
        return study
    if not _applies("stop", row):
        return study
    found = stop_of(study, trials.of_study(session, study_id), now, confirms=confirms)
    trials.remove_unstarted(session, study_id)
    row.stops = [*row.stops, STOP.dump_python(found, mode="json")]
    if not confirms:
        row.state = "stopping"
    return study_of(row)


def cancel(session: Session, study_id: int, owner: str | None, now: datetime) -> Study:
    """Cancel a study; its holder loses the lease.

    Raises:
        NotFoundError: As `pause`.
        VerbNotAllowedError: If it is complete or failed.
    """
    row = studies.stored(session, study_id, owner, locked=True)
    if _applies("cancel", row):
        row.state, row.finished_at = "cancelled", now
        # the holder settles the study; another dispatcher does so once the lease has expired
        row.lease_token = None
        notices.add(session, study_id, now)
    return study_of(row)


def retry(
    session: Session,
    study_id: int,
    owner: str | None,
    now: datetime,
    *,
    accepts_changed_code: bool = False,
) -> Study:
    """Queue a failed or complete study again, with the failed trials of its last phase to be run.

    Those of earlier phases stay lost: the settings of the last phase were chosen when they were.
    The protocol keeps how many trials were retried, when, and after which verdict. A study that has
    been retried and has not ended since is left as it is.

    Args:
        session: The transaction.
        study_id: The study.
        owner: Who may see the study; None for everyone.
        now: The time.
        accepts_changed_code: Whether the trials may be run by other code.

    Raises:
        NotFoundError: As `pause`.
        VerbNotAllowedError: If it has neither failed nor is complete.
        NothingToRetryError: If it is complete and no trial of its last phase has failed.
    """
    row = studies.stored(session, study_id, owner, locked=True)
    earlier = row.protocol.get("retries", [])
    if earlier and row.state not in STUDY_ENDED:
        return study_of(row)
    _applies("retry", row)
    n_trials = trials.reopen_failed(session, study_id, is_cancelled_too=row.state == "failed")
    if row.state == "complete" and not n_trials:
        raise NothingToRetryError(
            f"No trial of the last phase of study {row.name!r} has failed; those of earlier phases "
            "stay lost, because the settings of the last phase were chosen after them."
        )
    found = {
        "n_trials": n_trials,
        "retried_at": now.isoformat(),
        "verdict": row.verdict,
        "accepts_changed_code": accepts_changed_code,
    }
    row.protocol = {**row.protocol, "retries": [*earlier, found]}
    row.state, row.started_at, row.finished_at = "queued", None, None
    row.error = row.verdict = row.comparison = None
    row.n_crashes = 0
    leases.clear(row)
    return study_of(row)


def prioritize(session: Session, study_id: int, owner: str | None, priority: int) -> Study:
    """Change the priority of a study that waits, between -100 and 100.

    Raises:
        NotFoundError: As `pause`.
        VerbNotAllowedError: If it is neither queued nor paused.
    """
    row = studies.stored(session, study_id, owner, locked=True)
    if row.priority != priority and _applies("prioritize", row):
        row.priority = priority
    return study_of(row)


def _applies(verb: Verb, row: StudyRow) -> bool:
    return applies(verb, row.name, row.state)  # type: ignore[arg-type]  # a StudyState
