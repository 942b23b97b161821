"""Studies are stored once, visible to their owner alone, and cancelled at most once."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from gradnoise_service.domain.errors import (
    IdempotencyMismatchError,
    InvalidSpecError,
    NameTakenError,
    NotFoundError,
    StudyNotCompleteError,
)
from gradnoise_service.domain.remarks import StudyFilter
from gradnoise_service.domain.sequential import Extension
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Study
from gradnoise_service.domain.suite import SuiteCount
from gradnoise_service.store import attempts, leases, studies, trials, verbs
from gradnoise_service.store.database import Database

ACCURACY = Metric(name="accuracy", direction="maximize", worst=0.0)
Make = Callable[..., StudySpec]


def submit(
    database: Database,
    spec: StudySpec,
    now: datetime,
    *,
    owner: str = "ada",
    key: str | None = None,
) -> Study:
    with database.session(write=True) as session:
        return studies.submit(session, spec, ACCURACY, owner=owner, now=now, idempotency_key=key)


def test_a_submitted_study_is_read_unchanged(
    database: Database, make_spec: Make, now: datetime
) -> None:
    submitted = submit(database, make_spec(), now)
    with database.session() as session:
        read = studies.get(session, submitted.id, "ada")
    assert read == submitted
    assert (read.state, read.spec, read.metric, read.created_at) == (
        "queued",
        make_spec(),
        ACCURACY,
        now,
    )


def test_a_study_is_visible_to_its_owner_and_to_administrators(
    database: Database, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(), now)
    with database.session() as session:
        with pytest.raises(NotFoundError):
            studies.get(session, study.id, "bob")
        assert studies.get(session, study.id, None) == study
        assert studies.page(session, owner="bob", before=None, limit=9) == []


def test_a_taken_name_is_rejected_with_a_free_name(
    database: Database, make_spec: Make, now: datetime
) -> None:
    """Each owner has names of their own."""
    first = submit(database, make_spec(name="demo"), now)
    submit(database, make_spec(name="demo-2"), now)
    assert submit(database, make_spec(name="demo"), now, owner="bob").spec.name == "demo"
    submit(database, make_spec(name="demo-3"), now, owner="bob")
    with pytest.raises(NameTakenError) as caught:
        submit(database, make_spec(name="demo"), now)
    assert (caught.value.free_name, caught.value.study_id) == ("demo-3", first.id)
    assert submit(database, make_spec(name="demo-3"), now).spec.name == "demo-3"


def test_the_same_key_returns_the_first_study(
    database: Database, make_spec: Make, now: datetime
) -> None:
    first = submit(database, make_spec(), now, key="k")
    assert submit(database, make_spec(), now + timedelta(hours=1), key="k") == first
    with pytest.raises(IdempotencyMismatchError):
        submit(database, make_spec(seed=2), now, key="k")


def test_a_key_belongs_to_its_owner(database: Database, make_spec: Make, now: datetime) -> None:
    first = submit(database, make_spec(), now, key="k")
    assert submit(database, make_spec(name="other"), now, owner="bob", key="k").id != first.id


def test_concurrent_submissions_with_the_same_key_store_one_study(
    database: Database, make_spec: Make, now: datetime
) -> None:
    barrier = threading.Barrier(4)
    ids: list[int] = []

    def submit_concurrently() -> None:
        barrier.wait()
        ids.append(submit(database, make_spec(), now, key="k").id)

    threads = [threading.Thread(target=submit_concurrently) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 4
    assert len(set(ids)) == 1


def test_pages_are_newest_first_and_complete(
    database: Database, make_spec: Make, now: datetime
) -> None:
    ids = [submit(database, make_spec(name=f"s{i}"), now).id for i in range(5)]
    queued = StudyFilter(state="queued")
    with database.session() as session:
        first = studies.page(session, owner="ada", before=None, limit=2)
        second = studies.page(session, owner="ada", before=first[-1].id, limit=9, only=queued)
    assert [study.id for study in first + second] == ids[::-1]


def complete(database: Database, study: Study, now: datetime, verdict: str = "undecided") -> None:
    with database.session(write=True) as session:
        acquired = leases.acquire(session, "d", now, timedelta(seconds=30))
        assert acquired is not None
        assert acquired[0].id == study.id
        leases.complete(session, acquired[1], now, {"verdict": verdict}, verdict)


def extend(
    database: Database,
    study: Study,
    n: int,
    now: datetime,
    *,
    owner: str = "ada",
    key: str | None = None,
    max_trials: int = 1000,
) -> Study:
    with database.session(write=True) as session:
        return studies.extend(
            session, study.id, owner, n, max_trials=max_trials, now=now, idempotency_key=key
        )


def test_an_extended_study_is_queued_again_with_its_earlier_verdicts(
    database: Database, make_spec: Make, now: datetime
) -> None:
    study, later = submit(database, make_spec(), now), now + timedelta(hours=1)
    complete(database, study, now)
    extended = extend(database, study, 20, later)
    assert (extended.state, extended.verdict, extended.comparison, extended.finished_at) == (
        "queued",
        None,
        None,
        None,
    )
    assert extended.spec == study.spec
    assert (extended.design.n_seeds, extended.design.extended_at) == (25, (5,))
    complete(database, study, later, "helps")
    extended_twice = extend(database, study, 5, later)
    assert (extended_twice.design.n_seeds, extended_twice.design.extended_at) == (30, (5, 25))
    assert extended_twice.extensions == (
        Extension(n_seeds=20, at_n=5, verdict="undecided", extended_at=later),
        Extension(n_seeds=5, at_n=25, verdict="helps", extended_at=later),
    )


def test_an_extension_of_a_study_that_a_look_ended_starts_at_that_look(
    database: Database, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(confirm={"n_seeds": 24, "looks": [12, 18]}), now)
    settings = {"baseline": [{"lr": 0.1}], "noisy": [{"lr": 0.1}]}
    with database.session(write=True) as session:
        confirm = study.design.at(12).trials("confirm", settings)
        trials.declare(session, study.id, confirm)
    complete(database, study, now, "helps")
    extended = extend(database, study, 4, now)
    assert extended.extensions[0].at_n == 12
    assert extended.design.n_seeds == 16


def test_only_the_owner_extends_a_complete_study(
    database: Database, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(), now)
    with pytest.raises(StudyNotCompleteError, match="is queued"):
        extend(database, study, 5, now)
    complete(database, study, now)
    with pytest.raises(NotFoundError):
        extend(database, study, 5, now, owner="bob")
    extend(database, study, 5, now)
    with database.session(write=True) as session:
        verbs.cancel(session, study.id, "ada", now)
    with pytest.raises(StudyNotCompleteError, match="is cancelled"):
        extend(database, study, 5, now)


def test_an_extension_is_limited_by_the_number_of_trials(
    database: Database, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(), now)  # 18 trials
    complete(database, study, now)
    with pytest.raises(InvalidSpecError) as caught:
        extend(database, study, 7, now, max_trials=30)
    [fault] = caught.value.errors
    assert (fault.field, fault.value, fault.legal) == ("seeds", 7, "at most 6 more seeds")
    assert extend(database, study, 6, now, max_trials=30).design.n_trials_total == 30


def test_the_same_key_extends_once(database: Database, make_spec: Make, now: datetime) -> None:
    study = submit(database, make_spec(), now, key="submitted")
    complete(database, study, now)
    first = extend(database, study, 5, now, key="k")
    assert extend(database, study, 5, now, key="k") == first
    complete(database, study, now)
    assert extend(database, study, 5, now, key="k").state == "complete"
    with pytest.raises(IdempotencyMismatchError):
        extend(database, study, 6, now, key="k")
    # the extension does not change the submitted spec
    assert submit(database, make_spec(), now, key="submitted").id == study.id


def test_concurrent_extensions_store_one(
    database: Database, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(), now)
    complete(database, study, now)
    barrier = threading.Barrier(4)
    outcomes: list[object] = []

    def extend_concurrently(key: str) -> None:
        barrier.wait()
        try:
            outcomes.append(extend(database, study, 5, now, key=key).design.extended_at)
        except StudyNotCompleteError:
            outcomes.append("refused")

    threads = [
        threading.Thread(target=extend_concurrently, args=(key,))
        for key in ("k", "k", "other", "other")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes, key=str) == [(5,), (5,), "refused", "refused"]


def test_progress_counts_every_trial_and_estimates_the_rest(
    database: Database, make_spec: Make, now: datetime
) -> None:
    # 2 arms x (4 trials + 5 seeds) x 3 epochs = 54 epochs
    study = submit(database, make_spec(), now)
    with database.session(write=True) as session:
        assert leases.acquire(session, "d", now, timedelta(seconds=30)) is not None
        trials.declare(session, study.id, study.design.trials("search"))
        first, second, third, *_ = attempts.waiting(session, study.id, "search")
        first_token = attempts.start(session, first.trial.id, {"lr": 0.1}, 0, now)
        attempts.end(session, first_token, "complete", now, value=0.5)
        second_token = attempts.start(session, second.trial.id, {"lr": 0.1}, 0, now)
        attempts.end(session, second_token, "failed", now, value=0.0, error="boom")
        third_token = attempts.start(session, third.trial.id, {"lr": 0.2}, 1, now)
        attempts.add_cost(session, {third_token: (2, 1.5)})
    with database.session() as session:
        progress = studies.progress(session, study.id, now + timedelta(seconds=8))
    baseline, noisy, *confirm = progress.arms
    assert (
        baseline.arm,
        baseline.n_trials,
        baseline.n_ended,
        baseline.n_running,
        baseline.best_value,
    ) == ("baseline", 4, 1, 1, 0.5)
    assert (noisy.arm, noisy.n_ended, noisy.n_failed, noisy.best_value) == ("noisy", 1, 1, None)
    assert [(arm.arm, arm.phase, arm.n_trials, arm.n_ended) for arm in confirm] == [
        ("baseline", "confirm", 5, 0),
        ("noisy", "confirm", 5, 0),
    ]
    assert progress.seconds_left == pytest.approx(8 / 8 * 46)  # 3 + 3 + 2 epochs took 8 seconds


@pytest.mark.parametrize(("judge", "best"), [("last_epoch", 0.5), ("best_validation_epoch", 0.9)])
def test_a_lost_trial_is_never_the_best(
    database: Database, make_spec: Make, now: datetime, judge: str, best: float
) -> None:
    """Its value is the declared worst one; where the best epoch counts, it keeps its value."""
    study = submit(database, make_spec(judge=judge), now)
    with database.session(write=True) as session:
        assert leases.acquire(session, "d", now, timedelta(seconds=30)) is not None
        trials.declare(session, study.id, study.design.trials("search"))
        for waiting, value in zip(
            attempts.waiting(session, study.id, "search")[::2], (0.5, 0.9), strict=False
        ):
            token = attempts.start(session, waiting.trial.id, {"lr": 0.1}, 0, now)
            attempts.add_cost(session, {token: (2, 1.5)})
            attempts.end(session, token, "complete", now, value=value, diverged=value > 0.8)
        found = studies.progress(session, study.id, now).arms[0]
    assert (found.n_ended, found.n_diverged, found.best_value) == (2, 1, best)


def test_suites_are_those_of_their_owner_with_their_studies_in_order(
    database: Database, make_spec: Make, now: datetime
) -> None:
    for name in ("a", "b", "c"):
        submit(database, make_spec(name=name, suite="several"), now)
    submit(database, make_spec(name="alone"), now)
    for suite in ("another", "several"):
        submit(database, make_spec(name=f"in {suite}", suite=suite), now, owner="bob")
    with database.session(write=True) as session:
        verbs.cancel(session, studies.of_suite(session, "several", "ada")[1].id, None, now)
    with database.session() as session:
        assert studies.suites(session, "ada") == [SuiteCount("several", "ada", 3, 1)]
        assert [(suite.name, suite.owner) for suite in studies.suites(session, None)] == [
            ("another", "bob"),
            ("several", "ada"),
            ("several", "bob"),
        ]
        members = studies.of_suite(session, "several", "ada")
        assert [study.spec.name for study in members] == ["a", "b", "c"]
        assert len(studies.of_suite(session, "several", None)) == 4
        assert studies.first_of_suite(session, "several", "ada") == members[0]
        assert studies.first_of_suite(session, "another", "ada") is None
