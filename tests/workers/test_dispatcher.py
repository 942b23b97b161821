"""A dispatcher runs due studies, settles ended ones, and releases its studies when it stops."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest

from formula_launcher import FormulaLauncher
from gradnoise.training.calibration import Rate
from gradnoise.training.trial import TrialSpec
from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Study
from gradnoise_service.report.protocol import protocol
from gradnoise_service.search import Storage
from gradnoise_service.store import dispatchers, leases, studies, trials
from gradnoise_service.store.database import Database
from gradnoise_service.store.tables import StudyRow
from gradnoise_workers.dispatcher import Dispatcher
from gradnoise_workers.driver import Driver
from gradnoise_workers.launcher import Launcher, LauncherEvent

Make = Callable[..., StudySpec]
ACCURACY = Metric(name="accuracy", direction="maximize", worst=0.0)
WAIT_SECONDS = 60


class Gated(FormulaLauncher):
    """Trains nothing until its gate opens, and tells when it has been asked."""

    def __init__(self, gate: threading.Event, asked: threading.Event) -> None:
        super().__init__()
        self.gate, self.asked = gate, asked

    def events(self, timeout_seconds: float) -> Sequence[LauncherEvent]:
        self.asked.set()
        return super().events(timeout_seconds) if self.gate.wait(0.01) else []


def submit(database: Database, spec: StudySpec) -> Study:
    with database.session(write=True) as session:
        return studies.submit(session, spec, ACCURACY, owner="ada", now=datetime.now(UTC))


def read(database: Database, study: Study) -> Study:
    with database.session() as session:
        return studies.get(session, study.id, None)


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition on what another thread writes to the database."""
    deadline = threading.Event()
    timer = threading.Timer(WAIT_SECONDS, deadline.set)
    timer.start()
    try:
        while not condition():
            assert not deadline.wait(0.02), "it did not happen in time"
    finally:
        timer.cancel()


def make_dispatcher(
    database: Database, storage: Storage, open_launcher: Callable[[], Launcher], **changes: Any
) -> Dispatcher:
    usual: dict[str, Any] = {
        "id": f"d-{threading.get_ident()}",
        "checkpoints": Path("nowhere"),
        "machines": lambda: ("2 CPU cores", 3),
        "lease": timedelta(seconds=30),
        "concurrent_studies": 1,
        "now": lambda: datetime.now(UTC),
    }
    slots = changes.pop("slots", 3)
    settings = usual | changes
    driver = Driver(
        database=database,
        storage=storage,
        open_launcher=open_launcher,
        slots=slots,
        protocol={"formula": "f", "versions": {"gradnoise": "1", "torch": "2"}},
        device=lambda: settings["machines"]()[0],
        lease=settings["lease"],
        now=settings["now"],
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


def test_it_runs_studies_one_after_another_to_their_end(
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


def test_it_announces_itself_and_withdraws(database: Database, storage: Storage) -> None:
    def live() -> list[str]:
        with database.session() as session:
            return [info.device for info in dispatchers.live(session, datetime.now(UTC))]

    with running(database, storage, FormulaLauncher):
        until(lambda: live() == ["2 CPU cores"])
    assert live() == []


def test_it_announces_the_nodes_that_have_joined_since(
    database: Database, storage: Storage
) -> None:
    sizes = iter([("0 CPU cores", 0), ("4 CPU cores", 4)])
    dispatcher = make_dispatcher(database, storage, FormulaLauncher, machines=lambda: next(sizes))
    for n_slots in (0, 4):
        dispatcher.announce()
        with database.session() as session:
            assert [info.n_slots for info in dispatchers.live(session, datetime.now(UTC))] == [
                n_slots
            ]


def test_a_cancelled_study_leaves_no_trial_open_anywhere(
    database: Database, storage: Storage, make_spec: Make
) -> None:
    study = submit(database, make_spec())
    gate, asked = threading.Event(), threading.Event()
    with running(database, storage, lambda: Gated(gate, asked)):
        assert asked.wait(WAIT_SECONDS)
        with database.session(write=True) as session:
            studies.cancel(session, study.id, "ada", datetime.now(UTC))

        def is_settled() -> bool:
            with database.session() as session:
                return all(trial.has_ended for trial in trials.of_study(session, study.id))

        until(is_settled)
    with database.session() as session:
        assert {trial.state for trial in trials.of_study(session, study.id)} == {"cancelled"}
    for arm in ("baseline", "noisy"):
        states = {
            trial.state.name
            for trial in optuna.load_study(study_name=f"a study · {arm}", storage=storage).trials
        }
        assert states == {"FAIL"}
    assert read(database, study).state == "cancelled"


def test_a_study_cancelled_while_no_dispatcher_lived_is_settled_by_the_next(
    database: Database, storage: Storage, make_spec: Make
) -> None:
    study = submit(database, make_spec())
    with database.session(write=True) as session:
        assert leases.acquire(session, "dead", datetime.now(UTC), timedelta(seconds=30)) is not None
        trials.declare(session, study.id, study.design.trials("search"))
        studies.cancel(session, study.id, "ada", datetime.now(UTC))

    def n_open() -> int:
        with database.session() as session:
            return sum(not trial.has_ended for trial in trials.of_study(session, study.id))

    assert n_open() == 8
    with running(database, storage, FormulaLauncher):
        until(lambda: n_open() == 0)


def test_stopping_gives_the_study_back_and_the_next_one_ends_it(
    database: Database, storage: Storage, make_spec: Make
) -> None:
    study = submit(database, make_spec())
    gate, asked = threading.Event(), threading.Event()
    with running(database, storage, lambda: Gated(gate, asked)):
        assert asked.wait(WAIT_SECONDS)
    given_back = read(database, study)
    assert given_back.state == "running"
    with running(database, storage, FormulaLauncher):  # no need to wait for a lease to run out
        until(lambda: read(database, study).has_ended)
    assert read(database, study).state == "complete"
    with database.session() as session:
        assert {trial.state for trial in trials.of_study(session, study.id)} == {"complete"}


def test_a_study_that_cannot_be_driven_ends_failed_with_the_reason(
    database: Database, storage: Storage, make_spec: Make
) -> None:
    def open_launcher() -> Launcher:
        raise RuntimeError("No worker can start: no such device")

    study = submit(database, make_spec())
    # a crashed study is due again at once
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


def test_two_studies_may_run_at_once(database: Database, storage: Storage, make_spec: Make) -> None:
    both = [submit(database, make_spec(name=name)) for name in ("first", "second")]
    gate = threading.Event()
    asked = [threading.Event(), threading.Event()]
    waiting = iter(asked)
    with running(database, storage, lambda: Gated(gate, next(waiting)), concurrent_studies=2):
        assert all(event.wait(WAIT_SECONDS) for event in asked)
        gate.set()
        until(lambda: all(read(database, study).has_ended for study in both))
    assert {read(database, study).state for study in both} == {"complete"}


@pytest.mark.parametrize(
    ("slots", "opened", "said"),
    [
        (0, 2, "2 trials as one model on each worker: 100 updates a second with 1, 150 with 2"),
        (5, 5, "5 trials as one model on each worker: as configured"),
        (1, 1, "one trial at a time on each worker: as configured"),
    ],
)
def test_slots_are_measured_or_as_configured_and_the_report_says_so(
    database: Database, storage: Storage, make_spec: Make, slots: int, opened: int, said: str
) -> None:
    launcher = FormulaLauncher()
    study = submit(database, make_spec())
    with running(database, storage, lambda: launcher, slots=slots):
        until(lambda: read(database, study).has_ended)
    assert launcher.opened == [opened]
    assert bool(launcher.measured) == (slots == 0)
    comparison = read(database, study).comparison
    assert comparison is not None
    assert dict(protocol(Comparison.model_validate(comparison)))["stacking"] == said


def test_a_dispatcher_that_is_stopped_while_it_measures_gives_the_study_back(
    database: Database, storage: Storage, make_spec: Make
) -> None:
    study = submit(database, make_spec())
    measures = threading.Event()

    class Endless(FormulaLauncher):
        def measure(
            self,
            probe: TrialSpec,
            slots: int,
            before: Rate | None,
            check_interrupt: Callable[[], None],
        ) -> Rate:
            measures.set()
            while True:
                check_interrupt()

    with running(database, storage, Endless, slots=0):
        assert measures.wait(WAIT_SECONDS)
    # no need to wait for a lease to run out
    with running(database, storage, FormulaLauncher, slots=0):
        until(lambda: read(database, study).has_ended)
    assert read(database, study).state == "complete"


def test_checkpoints_go_with_their_study(
    database: Database, storage: Storage, make_spec: Make, tmp_path: Path
) -> None:
    """When a study ends here, at once; when it was cancelled elsewhere, once whoever held it must
    have noticed; those of others stay.
    """
    complete, cancelled, queued = (
        submit(database, make_spec(name=name)) for name in ("complete", "cancelled", "queued")
    )
    long_ago = datetime.now(UTC) - timedelta(minutes=2)
    with database.session(write=True) as session:
        studies.cancel(session, cancelled.id, None, datetime.now(UTC))

    def folders() -> set[str]:
        return {folder.name for folder in tmp_path.glob("checkpoints/*")}

    for name in (str(complete.id), str(cancelled.id), str(queued.id), "another"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        (tmp_path / "checkpoints" / name / "7.pt").touch()
    gate, asked = threading.Event(), threading.Event()
    launchers = iter([FormulaLauncher(), Gated(gate, asked)])
    with running(database, storage, lambda: next(launchers), checkpoints=tmp_path / "checkpoints"):
        assert asked.wait(WAIT_SECONDS)
        assert folders() == {str(cancelled.id), str(queued.id), "another"}
    with database.session(write=True) as session:
        session.get_one(StudyRow, cancelled.id).finished_at = long_ago
    dispatcher = make_dispatcher(
        database,
        storage,
        FormulaLauncher,
        checkpoints=tmp_path / "checkpoints",
        concurrent_studies=0,
    )
    dispatcher.run_round()
    assert folders() == {str(queued.id), "another"}
