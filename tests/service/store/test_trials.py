"""Trials are declared all at once, run by one attempt at a time, and never written again once they
have ended.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from gradnoise_service.domain.errors import LeaseLostError
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric
from gradnoise_service.store import studies, trials
from gradnoise_service.store.database import Database
from gradnoise_service.store.tables import AttemptRow

Make = Callable[..., StudySpec]


@pytest.fixture
def study_id(database: Database, make_spec: Make, now: datetime) -> int:
    """A study with its search declared."""
    with database.session(write=True) as session:
        metric = Metric(name="accuracy", direction="maximize", worst=0.0)
        study = studies.submit(session, make_spec(), metric, owner="ada", now=now)
        trials.declare(session, study.id, study.spec, "search")
    return study.id


def test_declaring_twice_declares_once(database: Database, study_id: int, make_spec: Make) -> None:
    with database.session(write=True) as session:
        trials.declare(session, study_id, make_spec(), "search")
        table = trials.table(session, study_id)
    assert [(trial.arm, trial.number) for trial in table] == [
        (arm, i) for arm in ("baseline", "noisy") for i in range(4)
    ]


def test_declaring_more_adds_only_what_is_missing(
    database: Database, study_id: int, make_spec: Make
) -> None:
    settings = {"baseline": [{"lr": 0.1}]}
    with database.session(write=True) as session:
        trials.declare(session, study_id, make_spec(), "confirm", settings)
        before = trials.table(session, study_id, "confirm")
        trials.declare(session, study_id, make_spec().at_seeds(8), "confirm", settings)
        after = trials.table(session, study_id, "confirm")
    assert after[:5] == before
    assert [(trial.number, trial.seed) for trial in after] == [
        (i, make_spec().trial_seed("confirm", i)) for i in range(8)
    ]


def test_trials_of_equal_number_share_their_seed_across_arms_and_phases_differ(
    database: Database, study_id: int, make_spec: Make
) -> None:
    with database.session(write=True) as session:
        trials.declare(
            session,
            study_id,
            make_spec(),
            "confirm",
            {"baseline": [{"lr": 0.1}], "noisy": [{"lr": 0.2, "eta": 1.0}]},
        )
        table = trials.table(session, study_id)
    seeds = {(trial.phase, trial.arm, trial.number): trial.seed for trial in table}
    assert all(seeds[phase, "baseline", i] == seeds[phase, "noisy", i] for phase, arm, i in seeds)
    assert len(set(seeds.values())) == 4 + 5
    assert {trial.params["lr"] for trial in table if trial.phase == "confirm" and trial.params} == {
        0.1,
        0.2,
    }


def test_an_arm_without_a_choice_gets_no_confirm_trials(
    database: Database, study_id: int, make_spec: Make
) -> None:
    with database.session(write=True) as session:
        trials.declare(session, study_id, make_spec(), "confirm", {"noisy": [{"lr": 0.2}]})
        assert {trial.arm for trial in trials.table(session, study_id, "confirm")} == {"noisy"}


def test_reruns_put_every_setting_on_the_same_seeds(
    database: Database, study_id: int, make_spec: Make
) -> None:
    spec = make_spec(search={"n_trials": 4, "epochs": 3, "rerun": {"top": 2, "n_seeds": 3}})
    settings = {"baseline": [{"lr": 0.1}], "noisy": [{"lr": 0.2}, {"lr": 0.3}]}
    with database.session(write=True) as session:
        trials.declare(session, study_id, spec, "rerun", settings)
        table = trials.table(session, study_id, "rerun")
        order = [
            (opening.trial.number, opening.trial.arm)
            for opening in trials.openings(session, study_id, "rerun")
        ]
    assert [(trial.arm, trial.number, trial.params) for trial in table] == [
        *(("baseline", i, {"lr": 0.1}) for i in range(3)),
        *(("noisy", i, {"lr": 0.2}) for i in range(3)),
        *(("noisy", 3 + i, {"lr": 0.3}) for i in range(3)),
    ]
    assert [trial.seed for trial in table] == [spec.trial_seed("rerun", i) for i in range(3)] * 3
    assert order[:2] == [(0, "baseline"), (0, "noisy")]


def test_openings_alternate_between_the_arms(database: Database, study_id: int) -> None:
    with database.session() as session:
        order = [
            (opening.trial.number, opening.trial.arm)
            for opening in trials.openings(session, study_id, "search")
        ]
    assert order == [(i, arm) for i in range(4) for arm in ("baseline", "noisy")]


def test_a_trial_that_has_ended_is_never_written_again(
    database: Database, study_id: int, now: datetime
) -> None:
    with database.session(write=True) as session:
        trial = trials.openings(session, study_id, "search")[0].trial
        token = trials.start(session, trial.id, {"lr": 0.1}, 0, now)
        trials.end(session, token, "complete", now, value=0.5)
    late: list[Callable[[studies.Session], object]] = [
        lambda session: trials.end(session, token, "complete", now, value=0.9),
        lambda session: trials.retry(session, token, "failed", now, "late"),
        lambda session: trials.spend(session, {token: (9, 1.0)}),
        lambda session: trials.start(session, trial.id, {"lr": 0.2}, 1, now),
    ]
    for act in late:
        with pytest.raises(LeaseLostError), database.session(write=True) as session:
            act(session)
    with database.session() as session:
        ended = trials.table(session, study_id)[0]
    assert (ended.state, ended.value, ended.params, ended.n_attempts) == (
        "complete",
        0.5,
        {"lr": 0.1},
        1,
    )


def test_a_retry_keeps_seed_parameters_and_cost_and_counts_only_its_own_failures(
    database: Database, study_id: int, now: datetime
) -> None:
    with database.session(write=True) as session:
        trial = trials.openings(session, study_id, "search")[0].trial
        for outcome in ("failed", "worker_lost"):
            token = trials.start(session, trial.id, {"lr": 0.1}, 7, now)
            trials.spend(session, {token: (2, 1.5)})
            trials.retry(session, token, outcome, now, "boom")
        trials.start(session, trial.id, {"lr": 0.1}, 7, now)
        # its dispatcher ended: no fault of the trial
        trials.return_to_waiting(session, study_id, now)
        opening = trials.openings(session, study_id, "search")[0]
    assert (opening.trial.id, opening.trial.seed, opening.optuna_number, opening.n_counted) == (
        trial.id,
        trial.seed,
        7,
        2,
    )
    assert (
        opening.trial.n_attempts,
        opening.trial.device_seconds,
        opening.trial.epochs,
        opening.trial.error,
    ) == (3, 3.0, 0, "boom")


def test_pages_walk_all_trials_by_id_and_filter(database: Database, study_id: int) -> None:
    with database.session() as session:
        first = trials.page(session, study_id, limit=3)
        rest = trials.page(session, study_id, after=first[-1].id, limit=100)
        noisy = trials.page(
            session, study_id, limit=100, arm="noisy", phase="search", state="waiting"
        )
        none = trials.page(session, study_id, limit=100, state="failed")
    assert len(first) + len(rest) == 8
    assert [trial.id for trial in first + rest] == sorted(trial.id for trial in first + rest)
    assert {trial.arm for trial in noisy} == {"noisy"}
    assert none == []


def test_the_latest_are_the_running_ones_then_those_that_ended_last(
    database: Database, study_id: int, now: datetime
) -> None:
    with database.session(write=True) as session:
        first, second, third, fourth, *_ = [
            opening.trial.id for opening in trials.openings(session, study_id, "search")
        ]
        for i, trial_id in enumerate((first, second)):
            trials.end(
                session,
                trials.start(session, trial_id, {}, 0, now),
                "complete",
                now + timedelta(seconds=i),
                value=0.5,
            )
        trials.start(session, third, {}, 0, now)
        trials.retry(session, trials.start(session, fourth, {}, 0, now), "failed", now, "boom")
        assert [trial.id for trial in trials.latest(session, study_id, 9)] == [
            third,
            second,
            first,
            fourth,
        ]
        assert [trial.id for trial in trials.latest(session, study_id, 2)] == [third, second]


def test_what_is_open_when_a_study_ends_is_cancelled(
    database: Database, study_id: int, now: datetime
) -> None:
    with database.session(write=True) as session:
        openings = trials.openings(session, study_id, "search")
        token = trials.start(session, openings[0].trial.id, {"lr": 0.1}, 0, now)
        trials.end(session, token, "pruned", now, value=0.1)
        trials.start(session, openings[1].trial.id, {"lr": 0.1}, 0, now)
        trials.cancel_open(session, study_id, now)
        # the study has not ended
        assert {trial.state for trial in trials.table(session, study_id)} == {
            "pruned",
            "running",
            "waiting",
        }
        studies.cancel(session, study_id, "ada", now)
        trials.cancel_open(session, study_id, now)
        states = [trial.state for trial in trials.table(session, study_id)]
    assert sorted(states) == ["cancelled"] * 7 + ["pruned"]


def test_the_cost_of_many_attempts_is_noted_at_once_or_not_at_all(
    database: Database, study_id: int, now: datetime
) -> None:
    with database.session(write=True) as session:
        first, second, third = (
            opening.trial.id for opening in trials.openings(session, study_id, "search")[:3]
        )
        tokens = [
            trials.start(session, trial_id, {"lr": 0.1}, 0, now)
            for trial_id in (first, second, third)
        ]
        trials.spend(session, dict.fromkeys(tokens, (2, 0.5)))
        trials.spend(session, {tokens[0]: (3, 1.0), tokens[1]: (4, 2.0)})
        trials.spend(session, {})
        trials.end(session, tokens[2], "complete", now, value=0.5)
    with pytest.raises(LeaseLostError), database.session(write=True) as session:
        trials.spend(session, dict.fromkeys(tokens, (9, 9.0)))
    with database.session() as session:
        cost = {
            trial.id: (trial.epochs, trial.device_seconds)
            for trial in trials.table(session, study_id)
        }
        attempts = {row.trial_id: row.device_seconds for row in session.scalars(select(AttemptRow))}
    assert [cost[one] for one in (first, second, third)] == [(3, 1.5), (4, 2.5), (2, 0.5)]
    assert attempts == {first: 1.5, second: 2.5, third: 0.5}
