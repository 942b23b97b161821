"""A study survives a crash at any write, and a holder without a lease writes nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, event

from crashes import crash_repeatedly
from formula_launcher import FormulaLauncher
from gradnoise_service.domain.errors import LeaseLostError
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.search import Storage, open_storage
from gradnoise_service.store import measurements, verbs
from gradnoise_service.store.database import Database
from gradnoise_service.store.leases import Lease
from gradnoise_workers.study import Ledger
from study_runs import (
    LEASE,
    assert_exactly_as_declared,
    assert_whole_grid,
    diverge_on,
    finish,
    grid,
    read,
    start,
    submit,
    three_arms,
)

Make = Callable[..., StudySpec]


def test_every_epoch_is_measured_once(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(), now)
    finish(start(database, storage, FormulaLauncher(), now))
    _, table = read(database, study)
    with database.session() as session:
        for trial in table:
            rows = measurements.of_trial(session, trial.id)
            assert [row.epoch for row in rows] == [1, 2, 3]
            assert (trial.epochs, trial.device_seconds) == (3, 0.75)


def test_the_share_of_device_time_counts_from_the_first_attempt(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(), now)
    finish(start(database, storage, FormulaLauncher(), now))
    after, table = read(database, study)
    later = now + timedelta(seconds=10)
    lease = Lease(study_id=study.id, token="")
    ledger = Ledger(
        database=database, study=after, lease=lease, lease_duration=LEASE, now=lambda: later
    )
    seconds = 0.75 * len(table)
    assert ledger.busy(2) == {
        "share": seconds / 20,
        "device_seconds": seconds,
        "wall_seconds": 10.0,
        "n_devices": 2,
    }
    assert replace(ledger, now=lambda: now).busy(2) == {}
    extended = replace(after, started_at=later)
    assert replace(ledger, study=extended).busy(2) == {}


@pytest.mark.slow
def test_an_epoch_takes_a_constant_number_of_statements(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    counts = []
    for n in (10, 50):
        submit(
            database,
            make_spec(
                name=f"of {n}", search={"n_trials": n // 2, "epochs": 100, "sampler": "random"}
            ),
            now,
        )
        launcher = FormulaLauncher(slots=n)
        run = start(database, storage, launcher, now)
        while launcher.n_free():
            run.step(0.0)
        with (
            statements(database.engine) as service_statements,
            statements(storage.engine) as optuna_statements,
        ):
            run.step(0.0)
        assert set(launcher.epochs.values()) <= set(range(1, 100))
        counts.append((len(service_statements), len(optuna_statements)))
    assert counts[0] == counts[1]
    assert counts[0][1] == 0


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """Yield the list of the SQL statements that are executed inside the block."""
    executed: list[str] = []

    def record(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        executed.append(statement)

    event.listen(engine, "before_cursor_execute", record)
    try:
        yield executed
    finally:
        event.remove(engine, "before_cursor_execute", record)


def test_the_run_of_a_cancelled_study_loses_its_lease_at_the_next_step(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(), now)
    run = start(database, storage, FormulaLauncher(), now)
    run.step(0.0)
    with database.session(write=True) as session:
        verbs.cancel(session, study.id, "ada", now)
    with pytest.raises(LeaseLostError):
        run.step(0.0)


def test_an_earlier_holder_writes_nothing_after_a_takeover(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(), now)
    zombie = start(database, storage, FormulaLauncher(), now)
    zombie.step(0.0)
    second_storage = open_storage(database.url.render_as_string(hide_password=False))
    successor = start(database, second_storage, FormulaLauncher(), now + 2 * LEASE)
    for _ in range(3):
        with pytest.raises(LeaseLostError):
            zombie.step(0.0)
    finish(successor)
    after, table = read(database, study)
    assert after.state == "complete"
    assert all(trial.state == "complete" for trial in table)
    second_storage.remove_session()
    second_storage.engine.dispose()


@pytest.mark.slow
@pytest.mark.parametrize("stride", [11])
def test_a_crash_at_any_write_loses_and_repeats_no_trial(
    database: Database, storage: Storage, make_spec: Make, now: datetime, stride: int
) -> None:
    pruner = {"name": "median", "startup_trials": 2}
    search = {"n_trials": 6, "epochs": 3, "sampler": "tpe", "pruner": pruner}
    study = submit(database, make_spec(search=search, confirm={"n_seeds": 3}), now)
    crash_repeatedly(database, study, now, stride)
    assert_exactly_as_declared(database, storage, study)


@pytest.mark.slow
@pytest.mark.parametrize("stride", [7])
def test_a_crash_at_any_write_of_a_grid_loses_and_repeats_no_trial(
    database: Database, storage: Storage, make_spec: Make, now: datetime, stride: int
) -> None:
    study = submit(database, make_spec(**grid(6)), now)
    crash_repeatedly(database, study, now, stride)
    assert_whole_grid(database, storage, study, 6)


@pytest.mark.slow
@pytest.mark.parametrize("stride", [7])
def test_a_crash_at_any_write_between_looks_loses_and_repeats_no_trial(
    database: Database, storage: Storage, make_spec: Make, now: datetime, stride: int
) -> None:
    study = submit(database, make_spec(**three_arms()), now)
    open_launcher = lambda: FormulaLauncher(slots=2, override=diverge_on(study.spec, 0))  # noqa: E731
    crash_repeatedly(database, study, now, stride, open_launcher)
    assert_exactly_as_declared(database, storage, study, 18, {"plain": 8})
    undisturbed = submit(database, make_spec(name="undisturbed", **three_arms()), now)
    finish(start(database, storage, FormulaLauncher(override=diverge_on(study.spec, 0)), now))
    interrupted, uninterrupted = (
        read(database, study)[0].comparison,
        read(database, undisturbed)[0].comparison,
    )
    assert interrupted is not None
    assert uninterrupted is not None
    assert [interrupted[name] for name in ("differences", "plan", "seeds")] == [
        uninterrupted[name] for name in ("differences", "plan", "seeds")
    ]
