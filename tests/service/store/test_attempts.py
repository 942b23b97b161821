"""A trial has one running attempt at a time, and does not change after its end."""

from collections.abc import Callable
from datetime import datetime

import pytest
from sqlalchemy import select

from gradnoise_service.domain.errors import LeaseLostError
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric
from gradnoise_service.store import attempts, studies, trials
from gradnoise_service.store.database import Database
from gradnoise_service.store.tables import AttemptRow


@pytest.fixture
def study_id(database: Database, make_spec: Callable[..., StudySpec], now: datetime) -> int:
    """A study with its search declared."""
    with database.session(write=True) as session:
        metric = Metric(name="accuracy", direction="maximize", worst=0.0)
        study = studies.submit(session, make_spec(), metric, owner="ada", now=now)
        trials.declare(session, study.id, study.design.trials("search"))
    return study.id


def test_waiting_trials_alternate_between_the_arms(database: Database, study_id: int) -> None:
    with database.session() as session:
        waiting = attempts.waiting(session, study_id, "search")
    assert [(w.trial.number, w.trial.arm) for w in waiting] == [
        (i, arm) for i in range(4) for arm in ("baseline", "noisy")
    ]


def test_an_ended_trial_does_not_change(database: Database, study_id: int, now: datetime) -> None:
    with database.session(write=True) as session:
        trial = attempts.waiting(session, study_id, "search")[0].trial
        token = attempts.start(session, trial.id, {"lr": 0.1}, 0, now)
        attempts.end(session, token, "complete", now, value=0.5)
    late: list[Callable[[studies.Session], object]] = [
        lambda session: attempts.end(session, token, "complete", now, value=0.9),
        lambda session: attempts.retry(session, token, "failed", now, "late"),
        lambda session: attempts.add_cost(session, {token: (9, 1.0)}),
        lambda session: attempts.start(session, trial.id, {"lr": 0.2}, 1, now),
    ]
    for write in late:
        with pytest.raises(LeaseLostError), database.session(write=True) as session:
            write(session)
    with database.session() as session:
        ended = trials.of_study(session, study_id)[0]
    stored = (ended.state, ended.value, ended.params, ended.n_attempts)
    assert stored == ("complete", 0.5, {"lr": 0.1}, 1)


def test_a_retry_keeps_seed_parameters_and_cost_and_counts_failures(
    database: Database, study_id: int, now: datetime
) -> None:
    with database.session(write=True) as session:
        trial = attempts.waiting(session, study_id, "search")[0].trial
        for outcome in ("failed", "worker_lost", "stack_lost", "displaced"):
            token = attempts.start(session, trial.id, {"lr": 0.1}, 7, now)
            attempts.add_cost(session, {token: (2, 1.5)})
            attempts.retry(session, token, outcome, now, "boom")
        attempts.start(session, trial.id, {"lr": 0.1}, 7, now)
        # the end of a dispatcher is not a failure of the trial
        attempts.orphan_running(session, study_id, now)
        retried = attempts.waiting(session, study_id, "search")[0]
    assert (retried.trial.id, retried.trial.seed) == (trial.id, trial.seed)
    assert (retried.optuna_number, retried.trial.n_attempts) == (7, 5)
    assert (retried.n_counted, retried.n_suspected, retried.n_uncounted) == (2, 2, 2)
    assert (retried.trial.device_seconds, retried.trial.epochs, retried.trial.error) == (
        6.0,
        0,
        "boom",
    )


def test_costs_of_many_attempts_are_stored_together_or_not_at_all(
    database: Database, study_id: int, now: datetime
) -> None:
    with database.session(write=True) as session:
        waiting = attempts.waiting(session, study_id, "search")[:3]
        ids = [w.trial.id for w in waiting]
        tokens = [attempts.start(session, id, {"lr": 0.1}, 0, now) for id in ids]
        attempts.add_cost(session, dict.fromkeys(tokens, (2, 0.5)))
        attempts.add_cost(session, {tokens[0]: (3, 1.0), tokens[1]: (4, 2.0)})
        attempts.add_cost(session, {})
        attempts.end(session, tokens[2], "complete", now, value=0.5)
    with pytest.raises(LeaseLostError), database.session(write=True) as session:
        attempts.add_cost(session, dict.fromkeys(tokens, (9, 9.0)))
    with database.session() as session:
        stored = {trial.id: trial for trial in trials.of_study(session, study_id)}
        seconds = {row.trial_id: row.device_seconds for row in session.scalars(select(AttemptRow))}
    costs = [(stored[id].epochs, stored[id].device_seconds) for id in ids]
    assert costs == [(3, 1.5), (4, 2.5), (2, 0.5)]
    assert seconds == dict(zip(ids, (1.5, 2.5, 0.5), strict=True))
