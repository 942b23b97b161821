"""A dispatcher runs due studies, settles ended ones, and releases its studies when it stops."""

import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy.exc import OperationalError

from formula_launcher import FormulaLauncher
from gated_launcher import GatedLauncher
from gradnoise.training.calibration import Rate
from gradnoise.training.trial import TrialSpec
from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.domain.devices import Devices
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Study
from gradnoise_service.report.protocol import protocol
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
from gradnoise_service.store.database import Database
from gradnoise_service.store.tables import StudyRow
from gradnoise_workers import driver as driver_module
from gradnoise_workers.dispatcher import Dispatcher
from gradnoise_workers.driver import Driver
from gradnoise_workers.launcher import Launcher
from gradnoise_workers.study import OptunaSync

Make = Callable[..., StudySpec]
ACCURACY = Metric(name="accuracy", direction="maximize", worst=0.0)
WAIT_SECONDS = 60


def submit(database: Database, spec: StudySpec) -> Study:
    with database.session(write=True) as session:
        return studies.submit(session, spec, ACCURACY, owner="ada", now=datetime.now(UTC))


def read(database: Database, study: Study) -> Study:
    with database.session() as session:
        return studies.get(session, study.id, None)


def until(condition: Callable[[], bool]) -> None:
    """Wait until another thread has made a condition on the database true."""
    deadline = threading.Event()
    timer = threading.Timer(WAIT_SECONDS, deadline.set)
    timer.start()
    try:
        while not condition():
            assert not deadline.wait(0.02), "the condition did not become true in time"
    finally:
        timer.cancel()


def make_dispatcher(
    database: Database, storage: Storage, open_launcher: Callable[[], Launcher], **changes: Any
) -> Dispatcher:
    defaults: dict[str, Any] = {
        "id": f"d-{threading.get_ident()}",
        "checkpoints": Path("nowhere"),
        "devices": lambda: Devices(n_cores=2),
        "lease": timedelta(seconds=30),
        "concurrent_studies": 1,
        "now": lambda: datetime.now(UTC),
    }
    slots = changes.pop("slots", 3)
    marks_changed_code = changes.pop("marks_changed_code", False)
    settings = defaults | changes
    driver = Driver(
        database=database,
        storage=storage,
        open_launcher=lambda _study, _source: open_launcher(),
        slots=slots,
        protocol={"formula": "f", "versions": {"gradnoise": "1", "torch": "2"}},
        lease=settings["lease"],
        now=settings["now"],
        marks_changed_code=marks_changed_code,
    )
    return Dispatcher(database=database, storage=storage, driver=driver, **settings)


@contextmanager
def running(
    database: Database, storage: Storage, open_launcher: Callable[[], Launcher], **changes: Any
) -> Iterator[threading.Event]:
    dispatcher = make_dispatcher(database, storage, open_launcher, **changes)
    stop = threading.Event()
    thread = threading.Thread(target=dispatcher.run, args=(stop,))
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(WAIT_SECONDS)
        assert not thread.is_alive()


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


def test_faults_of_the_database_fail_no_study(
    database: Database, storage: Storage, make_spec: Make
) -> None:
    """Here SQLite is locked three times for longer than a writer waits, then the study goes on."""
    study = submit(database, make_spec())
    faults = [OperationalError("INSERT", {}, Exception("database is locked")) for _ in range(5)]

    def open_launcher() -> Launcher:
        if faults:
            raise RuntimeError("Optuna's storage failed") from faults.pop()
        return FormulaLauncher()

    dispatcher = make_dispatcher(database, storage, open_launcher, lease=timedelta(0))
    for _ in range(6):
        dispatcher.run_round()
        dispatcher.join()
    assert read(database, study).state == "complete"


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


def test_a_study_whose_arm_cannot_be_trained_fails_once_before_its_first_trial(
    database: Database, storage: Storage, make_spec: Make
) -> None:
    launcher = FormulaLauncher(faults={"arms.1": "ValueError: rate must be below 1, but got 2"})
    study = submit(database, make_spec())
    with running(database, storage, lambda: launcher):
        until(lambda: read(database, study).has_ended)
    ended = read(database, study)
    assert ended.state == "failed"
    assert str(ended.error).endswith("arms.1 (noisy): ValueError: rate must be below 1, but got 2")
    assert launcher.admitted == []


def test_the_untrained_model_is_measured_once_on_the_first_confirm_seeds(
    database: Database, storage: Storage, make_spec: Make
) -> None:
    """Its best finite value on test is stored, also for an extension; here no run exceeds it."""
    study = submit(database, make_spec(confirm={"n_seeds": 7}))
    seeds = [study.design.seed("confirm", "baseline", i) for i in range(5)]
    values = dict(zip(seeds, [0.1, 0.95, 0.2, math.inf, math.nan], strict=True))
    measured: list[TrialSpec] = []

    def before(spec: TrialSpec) -> dict[str, float]:
        measured.append(spec)
        return {"validation_accuracy": 0.0, "test_accuracy": values[spec.seed]}

    for n_extra in (0, 2):
        if n_extra:
            with database.session(write=True) as session:
                now = datetime.now(UTC)
                studies.extend(session, study.id, "ada", n_extra, max_trials=99, now=now)
        with running(database, storage, lambda: FormulaLauncher(before=before)):
            until(lambda: read(database, study).has_ended)
        after = read(database, study)
        assert after.protocol["untrained"] == {"best": 0.95, "n_seeds": 3}
        assert after.comparison is not None
        (difference,) = after.comparison["differences"]  # type: ignore[misc]  # plain values
        assert difference["no_verdict"]["kind"] == "neither_learned"
        assert difference["n"] == 7 + n_extra
    assert [(spec.seed, spec.with_test, spec.techniques) for spec in measured] == [
        (seed, True, ("none",)) for seed in seeds
    ]


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


@pytest.mark.parametrize(
    ("slots", "opened", "expected"),
    [
        (0, 2, "2 trials as one model on each worker: 100 updates a second with 1, 150 with 2"),
        (5, 5, "5 trials as one model on each worker: as configured"),
        pytest.param(
            1, 1, "one trial at a time on each worker: as configured", marks=pytest.mark.slow
        ),
    ],
)
def test_slots_are_measured_or_configured_and_reported(
    database: Database, storage: Storage, make_spec: Make, slots: int, opened: int, expected: str
) -> None:
    launcher = FormulaLauncher()
    study = submit(database, make_spec())
    with running(database, storage, lambda: launcher, slots=slots):
        until(lambda: read(database, study).has_ended)
    assert launcher.opened == [opened]
    assert bool(launcher.measured) == (slots == 0)
    comparison = read(database, study).comparison
    assert comparison is not None
    assert dict(protocol(Comparison.model_validate(comparison)))["stacking"] == expected


@pytest.mark.slow
def test_a_dispatcher_stopped_during_a_measurement_releases_its_study(
    database: Database, storage: Storage, make_spec: Make
) -> None:
    study = submit(database, make_spec())
    measuring = threading.Event()

    class Endless(FormulaLauncher):
        def measure(
            self,
            probe: TrialSpec,
            slots: int,
            before: Rate | None,
            n_forms: int,
            check_interrupt: Callable[[], None],
        ) -> Rate:
            measuring.set()
            while True:
                check_interrupt()

    with running(database, storage, Endless, slots=0):
        assert measuring.wait(WAIT_SECONDS)
    # a released study is due at once
    with running(database, storage, FormulaLauncher, slots=0):
        until(lambda: read(database, study).has_ended)
    assert read(database, study).state == "complete"


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

    def folders() -> set[str]:
        return {folder.name for folder in tmp_path.glob("checkpoints/*")}

    for name in (str(complete.id), str(cancelled.id), str(queued.id), "another"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        (tmp_path / "checkpoints" / name / "7.pt").touch()
    gate, polled = threading.Event(), threading.Event()
    launchers = iter([FormulaLauncher(), GatedLauncher(gate, polled)])
    with running(database, storage, lambda: next(launchers), checkpoints=tmp_path / "checkpoints"):
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
        checkpoints=tmp_path / "checkpoints",
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
        for name in ("deleted", "just deleted"):
            deletion.mark(session, ids[name], None, now)
    for study_id in ids.values():
        (tmp_path / str(study_id)).mkdir()
    dispatcher = make_dispatcher(
        database,
        storage,
        FormulaLauncher,
        checkpoints=tmp_path,
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


def test_a_study_waits_while_its_code_is_not_that_of_its_start(
    database: Database, storage: Storage, make_spec: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on once the code is restored, or where changed code is marked in the report."""
    installed = {"workload mlp": "old"}
    monkeypatch.setattr(driver_module, "part_hashes", lambda _spec, _source: dict(installed))
    study = submit(database, make_spec())
    with running(database, storage, lambda: FormulaLauncher(slots=1)) as stop:
        until(lambda: bool(read(database, study).protocol))
        stop.set()
    installed["workload mlp"] = "new"
    dispatcher = make_dispatcher(database, storage, FormulaLauncher, lease=timedelta(0))
    for _ in range(4):  # more rounds than a crashing study has
        dispatcher.run_round()
        dispatcher.join()
    held = read(database, study)
    assert (held.state, held.error) == (
        "running",
        str(driver_module.CodeChangedError(["workload mlp"])),
    )
    marking = make_dispatcher(database, storage, FormulaLauncher, marks_changed_code=True)
    marking.run_round()
    marking.join()
    ended = read(database, study)
    assert (ended.state, ended.error) == ("complete", None)
    assert ended.protocol["changed_code"] == ["workload mlp"]
    assert ended.protocol["code_of"] == installed
