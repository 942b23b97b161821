"""Verbs change a study once, under the lock that its dispatcher's writes take as well."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import get_args

import pytest
from sqlalchemy import select, update

from gradnoise_service.domain.errors import NotFoundError, NothingToRetryError, VerbNotAllowedError
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Study, StudyState
from gradnoise_service.domain.verbs import ALLOWED, DONE, Verb
from gradnoise_service.store import attempts, leases, studies, trials, verbs
from gradnoise_service.store.database import Database, Session
from gradnoise_service.store.leases import Lease
from gradnoise_service.store.tables import AttemptRow, StudyRow, TrialRow

LEASE = timedelta(seconds=30)
Make = Callable[..., StudySpec]
Submit = Callable[..., Study]


@pytest.fixture
def submit(database: Database, make_spec: Make, accuracy: Metric, now: datetime) -> Submit:
    def submitted(name: str = "a study") -> Study:
        with database.session(write=True) as session:
            return studies.submit(session, make_spec(name=name), accuracy, owner="ada", now=now)

    return submitted


def running(database: Database, now: datetime) -> Lease:
    """Acquire the next study and start one of its trials."""
    with database.session(write=True) as session:
        acquired = leases.acquire(session, "d", now, LEASE)
        assert acquired is not None
        study, lease = acquired
        trials.declare(session, study.id, study.design.trials("search"))
        waiting = attempts.waiting(session, study.id, "search")[0]
        attempts.start(session, waiting.trial.id, {"lr": 0.1}, 0, now)
    return lease


def act(session: Session, verb: Verb, study_id: int, now: datetime) -> Study:
    if verb == "stop":
        return verbs.stop(session, study_id, "ada", now, confirms=False)
    if verb == "prioritize":
        return verbs.prioritize(session, study_id, "ada", 5)
    function: Callable[..., Study] = getattr(verbs, verb)
    return function(session, study_id, "ada", now)


def test_every_verb_in_every_state_acts_once_or_is_refused(
    database: Database, submit: Submit, now: datetime
) -> None:
    study = submit()
    running(database, now)
    for state in get_args(StudyState):
        for verb in ALLOWED:
            with database.session(write=True) as session:
                row = session.get_one(StudyRow, study.id)
                row.state, row.priority, row.protocol, row.stops = state, 0, {}, []
                session.execute(update(TrialRow).values(state="failed", n_attempts=1))
            with database.session(write=True) as session:
                if state in ALLOWED[verb]:
                    first = act(session, verb, study.id, now)
                    assert act(session, verb, study.id, now) == first
                    assert first.state != state or first.priority == 5
                    assert (first.protocol == {}) == (verb != "retry")
                elif state in DONE[verb]:
                    assert act(session, verb, study.id, now).state == state
                else:
                    with pytest.raises(VerbNotAllowedError, match=f"is {state}; only"):
                        act(session, verb, study.id, now)
    with database.session(write=True) as session, pytest.raises(NotFoundError):
        verbs.pause(session, study.id, "bob", now)


def test_a_retry_reopens_the_failed_trials_of_the_last_phase_and_is_recorded(
    database: Database, submit: Submit, now: datetime
) -> None:
    """Their attempts count anew; what the failure of the study cancelled waits again too."""
    study = submit()
    running(database, now)
    with database.session(write=True) as session:
        failed, done, *_ = session.scalars(select(TrialRow).order_by(TrialRow.id)).all()
        session.execute(update(AttemptRow).values(outcome="failed"))
        session.execute(update(TrialRow).values(state="cancelled", finished_at=now))
        failed.state, done.state, failed.error = "failed", "complete", "boom"
        session.get_one(StudyRow, study.id).state = "failed"
    with database.session(write=True) as session:
        retried = verbs.retry(session, study.id, "ada", now)
        waiting = attempts.waiting(session, study.id, "search")
    assert (retried.state, retried.error) == ("queued", None)
    assert retried.protocol["retries"] == [
        {
            "n_trials": 1,
            "retried_at": now.isoformat(),
            "verdict": None,
            "accepts_changed_code": False,
        }
    ]
    assert [(w.trial.id, w.n_counted) for w in waiting] == [
        (failed.id, 0),
        *((done.id + k, 0) for k in range(1, 7)),
    ]
    with database.session(write=True) as session:
        session.execute(update(TrialRow).values(state="complete"))
        row = session.get_one(StudyRow, study.id)
        row.state = "complete"
    with database.session(write=True) as session, pytest.raises(NothingToRetryError, match="last"):
        verbs.retry(session, study.id, "ada", now)


def test_a_held_study_pauses_until_its_holder_has_released_it(
    database: Database, submit: Submit, now: datetime
) -> None:
    study = submit()
    lease = running(database, now)
    with database.session(write=True) as session:
        assert verbs.pause(session, study.id, "ada", now).state == "pausing"
        assert leases.extend(session, lease, now, LEASE).is_pausing
        assert leases.check(session, lease).is_pausing
        assert leases.acquire(session, "other", now + 2 * LEASE, LEASE) is None
        leases.release(session, lease, now)
        assert studies.get(session, study.id, None).state == "paused"
        assert leases.acquire(session, "other", now + 2 * LEASE, LEASE) is None
        assert {trial.state for trial in trials.of_study(session, study.id)} == {"waiting"}
        assert verbs.resume(session, study.id, "ada", now).state == "queued"
        assert leases.acquire(session, "other", now, LEASE) is not None


def test_a_pause_that_is_withdrawn_in_time_leaves_the_study_with_its_holder(
    database: Database, submit: Submit, now: datetime
) -> None:
    """If the holder has noticed already, it releases the study, which is due again."""
    study = submit()
    lease = running(database, now)
    with database.session(write=True) as session:
        verbs.pause(session, study.id, "ada", now)
        assert verbs.resume(session, study.id, "ada", now).state == "running"
        assert not leases.check(session, lease).is_pausing
        leases.release(session, lease, now)
        assert studies.get(session, study.id, None).state == "running"
        assert leases.acquire(session, "other", now, LEASE) is not None


def test_a_study_whose_holder_died_while_it_paused_is_paused_by_another_dispatcher(
    database: Database, submit: Submit, now: datetime
) -> None:
    study = submit()
    lease = running(database, now)
    late = now + 2 * LEASE
    with database.session(write=True) as session:
        verbs.pause(session, study.id, "ada", now)
        assert leases.left_pausing(session, now) == []
        assert leases.left_pausing(session, late) == [study.id]
        leases.settle_pausing(session, study.id, now)  # too early: nothing happens
        assert studies.get(session, study.id, None).state == "pausing"
        leases.settle_pausing(session, study.id, late)
        assert studies.get(session, study.id, None).state == "paused"
        assert {trial.state for trial in trials.of_study(session, study.id)} == {"waiting"}
        with pytest.raises(leases.LeaseLostError):
            leases.check(session, lease)
