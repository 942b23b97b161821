"""Verbs change a study once, under the lock that its dispatcher's writes take as well."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import get_args

import pytest

from gradnoise_service.domain.errors import NotFoundError, VerbNotAllowedError
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Study, StudyState
from gradnoise_service.domain.verbs import ALLOWED, DONE, Verb
from gradnoise_service.store import attempts, leases, studies, trials, verbs
from gradnoise_service.store.database import Database, Session
from gradnoise_service.store.leases import Lease
from gradnoise_service.store.tables import StudyRow

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
    if verb == "prioritize":
        return verbs.prioritize(session, study_id, "ada", 5)
    function: Callable[..., Study] = getattr(verbs, verb)
    return function(session, study_id, "ada", now)


def test_every_verb_in_every_state_acts_once_or_is_refused(
    database: Database, submit: Submit, now: datetime
) -> None:
    study = submit()
    for state in get_args(StudyState):
        for verb in ALLOWED:
            with database.session(write=True) as session:
                row = session.get_one(StudyRow, study.id)
                row.state, row.priority = state, 0
            with database.session(write=True) as session:
                if state in ALLOWED[verb]:
                    first = act(session, verb, study.id, now)
                    assert act(session, verb, study.id, now) == first
                    assert first.state != state or first.priority == 5
                elif state in DONE[verb]:
                    assert act(session, verb, study.id, now).state == state
                else:
                    with pytest.raises(VerbNotAllowedError, match=f"is {state}; only"):
                        act(session, verb, study.id, now)
    with database.session(write=True) as session, pytest.raises(NotFoundError):
        verbs.pause(session, study.id, "bob", now)


def test_a_held_study_pauses_until_its_holder_has_released_it(
    database: Database, submit: Submit, now: datetime
) -> None:
    study = submit()
    lease = running(database, now)
    with database.session(write=True) as session:
        assert verbs.pause(session, study.id, "ada", now).state == "pausing"
        assert leases.extend(session, lease, now, LEASE) == "pausing"
        assert leases.check(session, lease) == "pausing"
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
        assert leases.check(session, lease) == "running"
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
