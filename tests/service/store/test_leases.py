"""A study has one holder at a time, and a holder that lost its lease writes no row."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from gradnoise_service.domain.design import Design
from gradnoise_service.domain.errors import LeaseLostError
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric
from gradnoise_service.store import attempts, leases, queue, studies, trials, verbs
from gradnoise_service.store.database import Database

Make = Callable[..., StudySpec]
LEASE = timedelta(seconds=30)
ACCURACY = Metric(name="accuracy", direction="maximize", worst=0.0)


def submit(database: Database, spec: StudySpec, now: datetime, owner: str = "ada") -> int:
    with database.session(write=True) as session:
        return studies.submit(session, spec, ACCURACY, owner=owner, now=now).id


def acquire(database: Database, now: datetime, by: str = "d1") -> leases.Lease | None:
    with database.session(write=True) as session:
        acquired = leases.acquire(session, by, now, LEASE)
    return acquired[1] if acquired else None


def test_a_study_has_one_holder_until_its_lease_expires(
    database: Database, make_spec: Make, now: datetime
) -> None:
    submit(database, make_spec(), now)
    first = acquire(database, now)
    assert first is not None
    assert acquire(database, now + LEASE, "d2") is None
    second = acquire(database, now + LEASE + timedelta(seconds=1), "d2")
    assert second is not None
    assert second.token != first.token


def test_a_lost_lease_permits_no_action(database: Database, make_spec: Make, now: datetime) -> None:
    submit(database, make_spec(), now)
    lost = acquire(database, now)
    assert lost is not None
    assert acquire(database, now + 2 * LEASE, "d2") is not None
    actions: list[Callable[[studies.Session], None]] = [
        lambda session: leases.check(session, lost),
        lambda session: leases.extend(session, lost, now, LEASE),
        lambda session: leases.release(session, lost, now),
        lambda session: leases.describe(session, lost, {}),
        lambda session: leases.complete(session, lost, now, {}, "helps"),
        lambda session: leases.fail(session, lost, now, "no"),
    ]
    for action in actions:
        with pytest.raises(LeaseLostError), database.session(write=True) as session:
            action(session)
    with database.session() as session:
        assert studies.get(session, lost.study_id, None).state == "running"


def test_a_cancelled_study_has_no_lease(database: Database, make_spec: Make, now: datetime) -> None:
    study_id = submit(database, make_spec(), now)
    lease = acquire(database, now)
    assert lease is not None
    with database.session(write=True) as session:
        verbs.cancel(session, study_id, "ada", now)
    with pytest.raises(LeaseLostError), database.session(write=True) as session:
        leases.complete(session, lease, now, {}, "helps")


def test_a_clock_set_back_leaves_no_study_with_a_dead_holder(
    database: Database, make_spec: Make, now: datetime
) -> None:
    """A live holder extends its lease by the new time, and keeps the study."""
    study_id = submit(database, make_spec(), now)
    lease = acquire(database, now)
    assert lease is not None
    earlier = now - timedelta(hours=1)
    with database.session(write=True) as session:
        assert queue.places(session, now, [study_id]) == {}
        assert queue.places(session, earlier, [study_id])[study_id].n_running == 0
        leases.extend(session, lease, earlier, LEASE)
    assert acquire(database, earlier + LEASE, "d2") is None
    assert acquire(database, earlier - timedelta(hours=1), "d2") is not None


def test_crashes_are_counted_since_the_last_trial_ended(
    database: Database, make_spec: Make, now: datetime
) -> None:
    submit(database, make_spec(), now)
    lease = acquire(database, now)
    assert lease is not None
    with database.session(write=True) as session:
        trials.declare(session, lease.study_id, Design.of(make_spec()).trials("search"))
        counts = []
        for number, waiting in enumerate(attempts.waiting(session, lease.study_id, "search")[:3]):
            counts += [leases.count_crash(session, lease) for _ in range(2)]
            token = attempts.start(session, waiting.trial.id, {"lr": 0.1}, number, now)
            attempts.end(session, token, "complete", now, value=0.5)
    assert counts == [1, 2] * 3


def test_an_extended_lease_lasts_longer(database: Database, make_spec: Make, now: datetime) -> None:
    submit(database, make_spec(), now)
    lease = acquire(database, now)
    assert lease is not None
    with database.session(write=True) as session:
        leases.extend(session, lease, now + LEASE, LEASE)
    assert acquire(database, now + 2 * LEASE, "d2") is None


def test_a_released_study_is_due_at_once(
    database: Database, make_spec: Make, now: datetime
) -> None:
    submit(database, make_spec(), now)
    lease = acquire(database, now)
    assert lease is not None
    with database.session(write=True) as session:
        leases.release(session, lease, now)
    assert acquire(database, now, "d2") is not None


def test_concurrent_dispatchers_never_share_a_study(
    database: Database, make_spec: Make, now: datetime
) -> None:
    for i in range(4):
        submit(database, make_spec(name=f"s{i}"), now)
    barrier = threading.Barrier(4)
    acquired_ids: list[int] = []

    def acquire_all(by: str) -> None:
        barrier.wait()
        while (lease := acquire(database, now, by)) is not None:
            acquired_ids.append(lease.study_id)

    threads = [threading.Thread(target=acquire_all, args=(f"d{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(acquired_ids) == len(set(acquired_ids))
    # a thread that skipped a locked row may have left a study
    while (lease := acquire(database, now)) is not None:
        acquired_ids.append(lease.study_id)
    assert len(set(acquired_ids)) == 4


def test_a_takeover_requeues_running_trials_with_seed_and_parameters(
    database: Database, make_spec: Make, now: datetime
) -> None:
    study_id = submit(database, make_spec(), now)
    lease = acquire(database, now)
    assert lease is not None
    with database.session(write=True) as session:
        trials.declare(session, study_id, Design.of(make_spec()).trials("search"))
        running = attempts.waiting(session, study_id, "search")[0]
        stale = attempts.start(session, running.trial.id, {"lr": 0.1}, 0, now)
    assert acquire(database, now + 2 * LEASE, "d2") is not None
    with database.session() as session:
        waiting = attempts.waiting(session, study_id, "search")[0]
    assert (waiting.trial.id, waiting.trial.seed, waiting.trial.params) == (
        running.trial.id,
        running.trial.seed,
        {"lr": 0.1},
    )
    assert (waiting.optuna_number, waiting.n_counted) == (0, 0)
    with pytest.raises(LeaseLostError), database.session(write=True) as session:
        attempts.end(session, stale, "complete", now, value=0.9)
