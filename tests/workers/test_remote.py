"""On a real Ray: lost trials resume, all actors measure at once, and studies share devices."""

import os
import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import ray

from gradnoise.training.calibration import candidates
from gradnoise.training.checkpoint import Checkpoints
from gradnoise.training.single import SingleTrainer
from gradnoise.training.trial import Finished, Measurement, TrialSpec
from gradnoise_service.domain.source import Source
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric
from gradnoise_service.search import Storage
from gradnoise_service.store import measurements, studies, trials
from gradnoise_service.store.database import Database
from gradnoise_workers.cluster import Cluster
from gradnoise_workers.launcher import LauncherEvent, NotMeasuredError, WorkerLost
from gradnoise_workers.remote import RayLauncher, Worker
from gradnoise_workers.study import StudyRun
from processes import has_ended
from study_runs import LEASE, start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

OPTIONS = {"dataset": "digits", "depth": 2, "width": 16, "init": "he"}
RUNG = 20


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[None]:
    """A local Ray with two cores, or the test's resources; its GPUs are declared, not real."""
    resources = {"num_cpus": 2, "num_gpus": 0} | getattr(request, "param", {})
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        environment.setenv("OMP_NUM_THREADS", "1")
        ray.init(address="local", include_dashboard=False, log_to_driver=False, **resources)
        yield
        ray.shutdown()


def no_interrupt() -> None:
    """Return without an interrupt."""


def trial(number: int, **changes: Any) -> TrialSpec:
    plain: dict[str, Any] = {
        "key": f"trial {number}",
        "workload": "mlp",
        "options": OPTIONS,
        "techniques": ("annealed",) if number % 2 else ("none",),
        "params": {
            "lr": 0.05 + 0.01 * number,
            **({"eta": 0.01, "gamma": 0.55} if number % 2 else {}),
        },
        "seed": number,
        "budget_epochs": 2 * RUNG,
        "rungs": (RUNG,),
        "checkpoint": f"1/{number}",
    }
    return TrialSpec(**(plain | changes))


def reference_curve(spec: TrialSpec) -> list[Mapping[str, float]]:
    """Return the values of every epoch of a trial, trained alone by the single trainer."""
    trainer = SingleTrainer()
    trainer.admit(spec)
    curve = []
    while events := trainer.advance([spec.key]):
        curve += [event.values for event in events if isinstance(event, Measurement)]
    return curve


def assert_equal_curves(
    found: Sequence[Mapping[str, float]], expected: Sequence[Mapping[str, float]]
) -> None:
    """Assert that two curves are equal within the rounding of float32.

    Trainers add up in another order, which differs by 6e-8. Where that moves an activation across
    the kink of its ReLU, a gradient differs by 1e-5, and the updates amplify it: to 1e-3 in some
    trials. The curves of other seeds differ by 0.2.
    """
    assert len(found) == len(expected)
    for values, expected_values in zip(found, expected, strict=True):
        assert values == pytest.approx(expected_values, rel=2e-3, abs=0.01)


def events_until(
    launcher: RayLauncher, condition: Callable[[list[LauncherEvent]], bool]
) -> list[LauncherEvent]:
    events: list[LauncherEvent] = []
    while not condition(events):
        events += launcher.events(0.5)
    return events


def process_id(worker: Worker) -> int:
    return int(ray.get(worker.actor.__ray_call__.remote(lambda _actor: os.getpid())))


def started_launcher(checkpoints: Path, slots: int) -> RayLauncher:
    launcher = RayLauncher(
        Cluster(), checkpoints=Checkpoints(url=str(checkpoints), every_seconds=0.0)
    )
    launcher.open(slots)
    launcher.start(no_interrupt)
    return launcher


def test_actors_whose_captures_broke_off_are_replaced_by_others_that_capture_nothing(
    cluster: None, tmp_path: Path
) -> None:

    def break_captures(_actor: object) -> None:
        from gradnoise.training.graphs import CaptureError
        from gradnoise.training.stacked_model import StackedModel

        def start(_model: object, _epoch: object) -> None:
            raise CaptureError("the capture broke off.")

        StackedModel.start = start  # type: ignore[method-assign,assignment]

    with closing(started_launcher(tmp_path, slots=2)) as launcher:
        before = set(map(process_id, launcher.workers))
        for worker in launcher.workers:
            ray.get(worker.actor.__ray_call__.remote(break_captures))
        rate = launcher.measure(trial(1), 2, None, 1, no_interrupt)
        assert (rate.slots, rate.eager) == (2, "the capture broke off.")
        assert before.isdisjoint(map(process_id, launcher.workers))


def test_trials_of_a_killed_actor_resume_on_another_with_other_slots(
    cluster: None, tmp_path: Path
) -> None:
    """The actors get SIGKILL while their trials wait at a rung, and each trial is reported as lost.

    Another stack replays their epochs, trains the rest, and measures the same values.
    """
    specs = [trial(number) for number in range(3)]
    with closing(started_launcher(tmp_path, slots=3)) as launcher:
        for spec in specs:
            launcher.admit(spec)
        held = {worker: set(worker.keys) for worker in launcher.workers}
        events = events_until(
            launcher,
            lambda events: (
                sum(isinstance(event, Measurement) and event.epoch == RUNG for event in events) == 3
            ),
        )
        assert {path.name for path in tmp_path.glob("1/*")} == {"0.pt", "1.pt", "2.pt"}
        for worker, keys in held.items():
            os.kill(process_id(worker), signal.SIGKILL)
            for key in keys:
                launcher.resume(key)
        events = events_until(launcher, lambda events: len(events) == 3)
        assert {event.key for event in events if isinstance(event, WorkerLost)} == {
            spec.key for spec in specs
        }
    with closing(started_launcher(tmp_path, slots=1)) as launcher:
        waiting, events = list(specs), []
        while sum(isinstance(event, Finished) for event in events) < 3:
            while waiting and launcher.n_free():
                launcher.admit(waiting.pop())
            latest = launcher.events(0.5)
            for event in latest:
                if isinstance(event, Measurement) and event.epoch == RUNG:
                    launcher.resume(event.key)
            events += latest
        assert any(tmp_path.glob("1/*"))  # kept until the end of their trials is stored
        events_until(launcher, lambda _: not any(tmp_path.glob("1/*")))
    for spec in specs:
        measured = [
            event for event in events if isinstance(event, Measurement) and event.key == spec.key
        ]
        assert [event.seconds == 0.0 for event in measured] == [True] * RUNG + [False] * RUNG
        assert_equal_curves([event.values for event in measured], reference_curve(spec))


def test_a_released_trial_frees_its_slot_and_sends_no_event(cluster: None, tmp_path: Path) -> None:
    """A pruned trial's slot is free at once, and its checkpoint is deleted."""
    with closing(started_launcher(tmp_path, slots=1)) as launcher:
        launcher.admit(trial(0))
        events_until(
            launcher,
            lambda events: any(
                isinstance(event, Measurement) and event.epoch == RUNG for event in events
            ),
        )
        assert launcher.n_free() == 1
        launcher.release("trial 0")
        assert launcher.n_free() == 2
        for number in (1, 2):
            launcher.admit(trial(number, rungs=()))
        events = events_until(
            launcher, lambda events: sum(isinstance(event, Finished) for event in events) == 2
        )
        events_until(launcher, lambda _: not any(tmp_path.glob("1/*")))
    assert {event.key for event in events} == {"trial 1", "trial 2"}


def test_a_worker_sends_one_message_an_epoch_for_any_number_of_trials(cluster: None) -> None:
    with closing(RayLauncher(Cluster())) as launcher:
        launcher.open(16)
        launcher.start(no_interrupt)
        for number in range(launcher.n_free()):
            launcher.admit(trial(number, rungs=(1, 2, 3), budget_epochs=4, checkpoint=""))
        events: list[LauncherEvent] = []
        n_messages = 0
        while sum(isinstance(event, Finished) for event in events) < 32:
            latest = launcher.events(5.0)
            n_messages += bool(latest)
            for event in latest:
                launcher.resume(event.key)
            events += latest
        assert sum(isinstance(event, Measurement) for event in events) == 32 * 4
        # messages of the two workers may arrive together
        assert 4 <= n_messages <= 2 * 4


def test_all_actors_measure_at_once_and_their_rates_add_up(cluster: None) -> None:
    with closing(RayLauncher(Cluster())) as launcher:
        assert launcher.start(no_interrupt).startswith("2 x core of ")
        assert launcher.n_free() == 0  # there are no slots before `open`
        assert launcher.candidates() == candidates(on_gpu=False)
        combined = launcher.measure(trial(1), 1, None, 1, no_interrupt)
        each = ray.get(
            [worker.actor.measure.remote(trial(1), 1, None, 2) for worker in launcher.workers]
        )
        assert (combined.slots, combined.refusal) == (1, "")
        assert combined.steps_per_second > 1.2 * min(rate.steps_per_second for rate in each)
        with pytest.raises(NotMeasuredError, match="there is no workload named 'nothing'"):
            launcher.measure(trial(1, workload="nothing"), 1, None, 1, no_interrupt)
        launcher.open(2)
        assert launcher.n_free() == 4  # a trial that raises ends no worker


def test_a_worker_that_dies_during_a_measurement_does_not_end_the_study(cluster: None) -> None:
    with closing(RayLauncher(Cluster())) as launcher:
        launcher.start(no_interrupt)
        victims = [process_id(launcher.workers[0])]

        def kill() -> None:
            while victims:
                os.kill(victims.pop(), signal.SIGKILL)

        # suspended, so that the measurement cannot end before the kill
        os.kill(victims[0], signal.SIGSTOP)
        with pytest.raises(NotMeasuredError, match="ActorDiedError"):
            launcher.measure(trial(1), 1, None, 1, kill)
        launcher.open(1)
        events_until(launcher, lambda _: launcher.n_free() == 2)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "while True: pass",
            "did not end within the time that GRADNOISE_IMPORT_SECONDS allows (2 s)",
        ),
        ("import os; os._exit(3)", "The process that imports train.py died"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_an_import_that_does_not_succeed_is_an_error_not_a_lost_worker(
    cluster: None, tmp_path: Path, text: str, error: str
) -> None:
    source = Source(name="train.py", files={"train.py": text}, folder=str(tmp_path), announced={})
    with closing(RayLauncher(Cluster(), source=source)) as launcher:
        assert error in launcher.import_source(2.0, no_interrupt)


def test_two_studies_share_every_core(cluster: None) -> None:
    with (
        closing(RayLauncher(Cluster(), n_studies=2)) as first,
        closing(RayLauncher(Cluster(), n_studies=2)) as second,
    ):
        for launcher in (first, second):
            assert launcher.start(no_interrupt).endswith(", each shared by 2 studies")
            launcher.open(1)
            assert launcher.n_free() == 2


class Recording(RayLauncher):
    """Records the admitted trials and their measurements."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        super().__init__(Cluster(), checkpoints=checkpoints)
        self.specs: dict[str, TrialSpec] = {}
        self.measured: defaultdict[str, list[Measurement]] = defaultdict(list)

    def admit(self, spec: TrialSpec) -> None:
        self.specs[spec.key] = spec
        super().admit(spec)

    def events(self, timeout_seconds: float) -> Sequence[LauncherEvent]:
        events = super().events(timeout_seconds)
        for event in events:
            if isinstance(event, Measurement):
                self.measured[event.key].append(event)
        return events


class Holding(Recording):
    """Never resumes a trial that waits at its rung."""

    def resume(self, key: str) -> None:
        """Keep the trial waiting."""


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_next_holder_of_a_study_resumes_its_trials(
    cluster: None,
    database: Database,
    storage: Storage,
    make_spec: Callable[..., StudySpec],
    now: datetime,
    tmp_path: Path,
) -> None:
    """A dispatcher and its actors end while trials wait at a rung.

    The next dispatcher, with another number of slots, ends the study.
    """
    pruner = {"name": "median", "warmup_epochs": 5, "every_epochs": 100, "startup_trials": 100}
    search = {
        "n_trials": 3,
        "epochs": 8,
        "sampler": "random",
        "pruner": pruner,
        "lag": 2,
        "rerun": {"n_seeds": 0},
    }
    with database.session(write=True) as session:
        metric = Metric(name="accuracy", direction="maximize", worst=0.0)
        study = studies.submit(
            session,
            make_spec(options=OPTIONS, search=search, confirm={"n_seeds": 2}),
            metric,
            owner="ada",
            now=now,
        )

    def take_over(launcher: RayLauncher, slots: int, at: datetime) -> StudyRun:
        launcher.open(slots)
        launcher.start(no_interrupt)
        return start(database, storage, launcher, at)

    checkpoints = Checkpoints(url=str(tmp_path), every_seconds=0.0)
    with closing(Holding(checkpoints)) as first:
        run = take_over(first, 3, now)
        while sum(map(len, first.measured.values())) < 6 * 5:
            run.step(0.5)
    n_measured = {
        first.specs[key].checkpoint: len(events) for key, events in first.measured.items()
    }
    assert set(n_measured.values()) == {5}
    with closing(Recording(checkpoints)) as second:
        run = take_over(second, 2, now + 2 * LEASE)
        while not run.step(0.5):
            pass
    for key, events in second.measured.items():
        spec = second.specs[key]
        assert sum(event.seconds == 0.0 for event in events) == n_measured.get(spec.checkpoint, 0)
        trial_id = int(spec.checkpoint.removeprefix(f"{study.id}/"))
        with database.session() as session:
            rows = measurements.of_trial(session, trial_id)
        stored = [{name: float(v or 0) for name, v in row.values.items()} for row in rows]
        assert_equal_curves(stored, reference_curve(spec))
    with database.session() as session:
        stored_trials = trials.of_study(session, study.id)
    assert Counter((t.phase, t.state, t.n_attempts) for t in stored_trials) == {
        ("search", "complete", 2): 6,
        ("confirm", "complete", 1): 4,
    }


def test_close_ends_every_actor(cluster: None) -> None:
    launcher = RayLauncher(Cluster())
    launcher.start(no_interrupt)
    pids = [process_id(worker) for worker in launcher.workers]
    launcher.close()
    assert all(has_ended(pid) for pid in pids)
