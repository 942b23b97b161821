"""A dispatcher runs due studies, settles ended ones, and releases its studies when it stops."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import optuna
import pytest

from dispatcher_runs import WAIT_SECONDS, make_dispatcher, read, running, submit, until
from formula_launcher import FormulaLauncher
from gated_launcher import GatedLauncher
from gradnoise_service.domain.devices import Devices
from gradnoise_service.domain.errors import DatabaseUnavailableError
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Study
from gradnoise_service.search import Storage
from gradnoise_service.store import (
    attempts,
    deletion,
    dispatchers,
    leases,
    studies,
    trials,
    verbs,
)
from gradnoise_service.store.database import Database, open_database
from gradnoise_service.store.tables import StudyRow
from gradnoise_service.usecases.study_folders import StudyFolders
from gradnoise_workers.launcher import Launcher, LauncherEvent
from gradnoise_workers.study import OptunaSync

Make = Callable[..., StudySpec]


def test_studies_run_to_their_end_in_sequence(
    database: Database, storage: Storage, make_spec: Make
) -> None:
    both = [submit(database, make_spec(name=name)) for name in ("first", "second")]
    with running(database, storage, FormulaLauncher):
        until(lambda: all(read(database, study).has_ended for study in both))
    first, second = (read(database, study) for study in both)
    assert (first.state, second.state) == ("complete", "complete")
    assert first.finished_at is not None
    assert second.started_at is not None
    assert first.finished_at <= second.started_at


def test_a_dispatcher_announces_itself_and_withdraws(database: Database, storage: Storage) -> None:
    def live() -> list[str]:
        with database.session() as session:
            return [info.device for info in dispatchers.live(session, datetime.now(UTC))]

    with running(database, storage, FormulaLauncher):
        until(lambda: live() == ["2 CPU cores"])
    assert live() == []


def test_a_dispatcher_announces_nodes_that_join_later(database: Database, storage: Storage) -> None:
    found = iter([Devices(), Devices(n_cores=4)])
    dispatcher = make_dispatcher(database, storage, FormulaLauncher, devices=lambda: next(found))
    for n_slots in (0, 12):
        dispatcher.announce()
        with database.session() as session:
            assert [info.n_slots for info in dispatchers.live(session, datetime.now(UTC))] == [
                n_slots
            ]


def test_the_trials_of_a_cancelled_study_end_here_and_in_optuna(
    database: Database, storage: Storage, make_spec: Make
) -> None:
    study = submit(database, make_spec())
    gate, polled = threading.Event(), threading.Event()
    with running(database, storage, lambda: GatedLauncher(gate, polled)):
        assert polled.wait(WAIT_SECONDS)
        with database.session(write=True) as session:
            verbs.cancel(session, study.id, "ada", datetime.now(UTC))

        def is_settled() -> bool:
            with database.session() as session:
                return all(trial.has_ended for trial in trials.of_study(session, study.id))

        until(is_settled)
    with database.session() as session:
        assert {trial.state for trial in trials.of_study(session, study.id)} == {"cancelled"}
    for arm in ("baseline", "noisy"):
        states = {
            trial.state.name
            for trial in optuna.load_study(
                study_name=f"a study (1) · {arm}", storage=storage
            ).trials
        }
        assert states == {"FAIL"}
    assert read(database, study).state == "cancelled"


def test_a_paused_study_is_checkpointed_and_frees_its_devices(
    database: Database, storage: Storage, make_spec: Make
) -> None:
    study = submit(database, make_spec())
    gate, polled = threading.Event(), threading.Event()
    launchers: list[GatedLauncher] = []

    def open_launcher() -> Launcher:
        launchers.append(GatedLauncher(gate, polled))
        return launchers[-1]

    def act(verb: Callable[..., Study]) -> None:
        with database.session(write=True) as session:
            verb(session, study.id, "ada", datetime.now(UTC))

    with running(database, storage, open_launcher):
        assert polled.wait(WAIT_SECONDS)
        act(verbs.pause)
        until(lambda: read(database, study).state == "paused")
        assert (launchers[0].n_saved, launchers[0].members) == (3, {})
        gate.set()
        act(verbs.resume)
        until(lambda: read(database, study).has_ended)
    assert (read(database, study).state, len(launchers)) == ("complete", 2)


def test_a_study_cancelled_while_its_dispatcher_dies_is_settled_when_the_lease_has_expired(
    database: Database, storage: Storage, make_spec: Make
) -> None:
    """One trial has just been recorded, one runs in Optuna alone: each is settled, once."""
    study, now = submit(database, make_spec()), datetime.now(UTC)
    lease = timedelta(seconds=30)
    with database.session(write=True) as session:
        assert leases.acquire(session, "dead", now, lease) is not None
        trials.declare(session, study.id, study.design.trials("search"))
        waiting = attempts.waiting(session, study.id, "search")
    optuna_trials = OptunaSync(study, storage)
    for k in range(2):
        number, params = optuna_trials.propose(waiting[0 if k == 0 else 2])
        if k == 0:
            with database.session(write=True) as session:
                token = attempts.start(session, waiting[0].trial.id, params, number, now)
                attempts.end(session, token, "complete", now, value=0.7)
    optuna_trials.save()
    with database.session(write=True) as session:
        verbs.cancel(session, study.id, "ada", now)
    dispatcher = make_dispatcher(database, storage, FormulaLauncher, concurrent_studies=0)
    dispatcher.run_round()
    assert read(database, study).is_settling  # the holder may be alive
    dispatcher.now = lambda: now + 2 * lease
    dispatcher.run_round()
    assert not read(database, study).is_settling
    with database.session() as session:
        states = Counter(trial.state for trial in trials.of_study(session, study.id))
    assert states == {"complete": 1, "cancelled": 7}
    name = f"a study ({study.id}) · baseline"
    recorded = optuna.load_study(study_name=name, storage=storage).trials
    assert [(trial.state.name, trial.value) for trial in recorded] == [
        ("COMPLETE", 0.7),
        ("FAIL", None),
    ]


LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("BEGIN EXCLUSIVE")
print(flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_locks_of_the_database_fail_no_study(
    database_url: str, database: Database, storage: Storage, make_spec: Make
) -> None:
    """Another process locks SQLite three times for longer than a writer waits."""
    study = submit(database, make_spec())
    impatient = open_database(database_url, patience_seconds=0.1)
    locks: list[subprocess.Popen[bytes]] = []

    class Locked(FormulaLauncher):
        def events(self, timeout_seconds: float) -> Sequence[LauncherEvent]:
            command = [sys.executable, "-c", LOCK, database_url.removeprefix("sqlite:///")]
            lock = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert lock.stdout is not None
            lock.stdout.readline()
            locks.append(lock)
            return super().events(timeout_seconds)

    dispatcher = make_dispatcher(impatient, storage, Locked, lease=timedelta(0))
    for n in range(1, 4):
        dispatcher.run_round()
        dispatcher.join()
        assert len(locks) == n
        locks[-1].communicate()
    assert read(database, study).state == "running"
    dispatcher = make_dispatcher(impatient, storage, FormulaLauncher, lease=timedelta(0))
    dispatcher.run_round()
    dispatcher.join()
    assert read(database, study).state == "complete"
    impatient.dispose()


def test_a_study_that_a_fault_of_the_database_ends_goes_on_before_queued_ones(
    database: Database, storage: Storage, make_spec: Make
) -> None:
    interrupted, queued = (submit(database, make_spec(name=name)) for name in ("first", "second"))
    failures = iter([DatabaseUnavailableError()])

    class Interrupted(FormulaLauncher):
        def events(self, timeout_seconds: float) -> Sequence[LauncherEvent]:
            for failure in failures:
                raise failure
            return super().events(timeout_seconds)

    dispatcher = make_dispatcher(database, storage, Interrupted)
    for state in ("running", "complete"):
        dispatcher.run_round()
        dispatcher.join()
        assert read(database, interrupted).state == state
        assert read(database, queued).state == "queued"


class RecordedPauses(threading.Event):
    """Is set at the last of a number of pauses, calls a function at each, and does not wait."""

    def __init__(self, n_pauses: int, act: Callable[[int], None]) -> None:
        super().__init__()
        self.pauses: list[float | None] = []
        self._n_pauses, self._act = n_pauses, act

    def wait(self, timeout: float | None = None) -> bool:
        self.pauses.append(timeout)
        self._act(len(self.pauses))
        if len(self.pauses) == self._n_pauses:
            self.set()
        return self.is_set()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_rounds_come_less_often_while_they_fail(
    database: Database, storage: Storage, tmp_path: Path
) -> None:
    """The database is away from the second round to the seventh."""
    file, away = tmp_path / "gradnoise.db", tmp_path / "away.db"

    def move(n_pauses: int) -> None:
        if n_pauses in (1, 7):
            database.dispose()
        if n_pauses == 1:
            file.rename(away)
        if n_pauses == 7:
            file.unlink(missing_ok=True)
            away.rename(file)

    stop = RecordedPauses(9, move)
    make_dispatcher(database, storage, FormulaLauncher).run(stop)
    assert stop.pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 0.5, 0.5]


def test_a_stopped_dispatcher_releases_its_study_to_the_next(
    database: Database, storage: Storage, make_spec: Make
) -> None:
    study = submit(database, make_spec())
    gate, polled = threading.Event(), threading.Event()
    with running(database, storage, lambda: GatedLauncher(gate, polled)):
        assert polled.wait(WAIT_SECONDS)
    released = read(database, study)
    assert released.state == "running"
    with running(database, storage, FormulaLauncher):  # a released study is due at once
        until(lambda: read(database, study).has_ended)
    assert read(database, study).state == "complete"
    with database.session() as session:
        assert {trial.state for trial in trials.of_study(session, study.id)} == {"complete"}


def test_a_study_that_cannot_be_driven_fails_with_the_reason(
    database: Database, storage: Storage, make_spec: Make
) -> None:
    def open_launcher() -> Launcher:
        raise RuntimeError("No worker can start: no such device")

    study = submit(database, make_spec())
    # without a lease time, a crashed study is due at once
    dispatcher = make_dispatcher(database, storage, open_launcher, lease=timedelta(0))
    for _ in range(3):
        dispatcher.run_round()
        dispatcher.join()
    ended = read(database, study)
    assert ended.state == "failed"
    assert (
        ended.error
        == "The study could not be driven: RuntimeError: No worker can start: no such device"
    )


@pytest.mark.slow
def test_two_studies_may_run_at_once(database: Database, storage: Storage, make_spec: Make) -> None:
    both = [submit(database, make_spec(name=name)) for name in ("first", "second")]
    gate = threading.Event()
    polled = [threading.Event(), threading.Event()]
    waiting = iter(polled)
    with running(
        database, storage, lambda: GatedLauncher(gate, next(waiting)), concurrent_studies=2
    ):
        assert all(event.wait(WAIT_SECONDS) for event in polled)
        gate.set()
        until(lambda: all(read(database, study).has_ended for study in both))
    assert {read(database, study).state for study in both} == {"complete"}


@pytest.mark.slow
def test_checkpoints_are_deleted_after_the_end_of_their_study(
    database: Database, storage: Storage, make_spec: Make, tmp_path: Path
) -> None:
    """Checkpoints of other studies stay.

    A study that ends here loses its checkpoints at once, but for those of its finished confirm
    runs. A study that was cancelled elsewhere loses them after the time in which its holder must
    have noticed.
    """
    complete, cancelled, queued = (
        submit(database, make_spec(name=name)) for name in ("complete", "cancelled", "queued")
    )
    long_ago = datetime.now(UTC) - timedelta(minutes=2)
    with database.session(write=True) as session:
        verbs.cancel(session, cancelled.id, None, datetime.now(UTC))

    place = StudyFolders(url=str(tmp_path / "checkpoints"))

    def folders() -> set[str]:
        return {folder.name for folder in tmp_path.glob("checkpoints/*")}

    for name in (str(complete.id), str(cancelled.id), str(queued.id), "another"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        (tmp_path / "checkpoints" / name / "7.pt").touch()
    gate, polled = threading.Event(), threading.Event()
    launchers = iter([FormulaLauncher(), GatedLauncher(gate, polled)])
    with running(database, storage, lambda: next(launchers), checkpoints=place):
        assert polled.wait(WAIT_SECONDS)
        assert folders() == {str(complete.id), str(cancelled.id), str(queued.id), "another"}
    with database.session() as session:
        runs = trials.page(session, complete.id, limit=1, phase="confirm")
    kept = tmp_path / "checkpoints" / str(complete.id)
    assert list(kept.iterdir()) == []
    for trial_id in (runs[0].id, 9999):
        (kept / f"{trial_id}.pt").touch()
    (kept / "workers").mkdir()
    (kept / "workers" / "trace").touch()  # of a worker whose dispatcher was killed
    with database.session(write=True) as session:
        for study in (complete, cancelled):
            session.get_one(StudyRow, study.id).finished_at = long_ago
    dispatcher = make_dispatcher(
        database,
        storage,
        FormulaLauncher,
        checkpoints=place,
        concurrent_studies=0,
    )
    dispatcher.run_round()
    assert folders() == {str(complete.id), str(queued.id), "another"}
    assert [file.name for file in kept.iterdir()] == [f"{runs[0].id}.pt"]


def test_a_dispatcher_removes_deleted_studies_and_the_files_of_old_ones(
    database: Database, storage: Storage, make_spec: Make, tmp_path: Path
) -> None:
    """Once two leases have passed since their end, and once they are older than is configured."""
    now = datetime.now(UTC)
    ages = {"old": timedelta(days=31), "new": timedelta(days=1), "deleted": timedelta(minutes=2)}
    ids = {name: submit(database, make_spec(name=name)).id for name in [*ages, "just deleted"]}
    with database.session(write=True) as session:
        for name, age in ages.items():
            verbs.cancel(session, ids[name], None, now - age)
        deletion.mark(session, ids["deleted"], None, now - ages["deleted"])
        deletion.mark(session, ids["just deleted"], None, now)
    for study_id in ids.values():
        (tmp_path / str(study_id)).mkdir()
    dispatcher = make_dispatcher(
        database,
        storage,
        FormulaLauncher,
        checkpoints=StudyFolders(url=str(tmp_path)),
        concurrent_studies=0,
        keep=timedelta(days=30),
    )
    dispatcher.run_round()
    with database.session() as session:
        old, new = (studies.get(session, ids[name], None) for name in ("old", "new"))
        assert old.pruned_at is not None
        assert new.pruned_at is None
        left = [study.id for study in deletion.marked(session, now + timedelta(days=1))]
    assert left == [ids["just deleted"]]
    assert str(ids["deleted"]) not in {folder.name for folder in tmp_path.iterdir()}
