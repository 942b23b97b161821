"""On a real Ray: trials outlive their actors, slots are measured by all actors at once, and studies
share devices.
"""

import os
import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import ray

from gradnoise.training import calibration
from gradnoise.training.calibration import candidates
from gradnoise.training.checkpoint import Checkpoints
from gradnoise.training.single import SingleTrainer
from gradnoise.training.stacked_model import StackedModel
from gradnoise.training.trial import Finished, Measurement, TrialSpec
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric
from gradnoise_service.search import Storage
from gradnoise_service.store import leases, measurements, studies, trials
from gradnoise_service.store.database import Database
from gradnoise_workers.launcher import News, NotMeasuredError, WorkerLost
from gradnoise_workers.remote import Place, RayLauncher, TrialActor
from gradnoise_workers.study_run import StudyRun
from processes import has_ended

pytestmark = pytest.mark.ray

OPTIONS = {"dataset": "digits", "depth": 2, "width": 16, "init": "he"}
LEASE = timedelta(seconds=30)
RUNG = 20


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[None]:
    """A Ray with two cores, or what a test asks for; its GPUs exist in Ray's books only."""
    resources = {"num_cpus": 2, "num_gpus": 0} | getattr(request, "param", {})
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        environment.setenv("OMP_NUM_THREADS", "1")
        ray.init(address="local", include_dashboard=False, log_to_driver=False, **resources)
        yield
        ray.shutdown()


def nothing() -> None:
    """Carries on."""


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


def alone(spec: TrialSpec) -> list[Mapping[str, float]]:
    """The values of every epoch of a trial that nothing disturbs, by the plain reference."""
    trainer = SingleTrainer()
    trainer.admit(spec)
    curve = []
    while events := trainer.advance([spec.key]):
        curve += [event.values for event in events if isinstance(event, Measurement)]
    return curve


def assert_equal_curves(
    found: Sequence[Mapping[str, float]], expected: Sequence[Mapping[str, float]]
) -> None:
    """In float32: the rounding of 6e-8 of a sum over a hundred examples, in whatever order, and
    what the updates make of it.
    """
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-5, abs=0.0)


def until(launcher: RayLauncher, condition: Callable[[list[News]], bool]) -> list[News]:
    news: list[News] = []
    while not condition(news):
        news += launcher.measurements(0.5)
    return news


def process(place: Place) -> int:
    return int(ray.get(place.actor.__ray_call__.remote(lambda _actor: os.getpid())))


def opened(checkpoints: Path, slots: int) -> RayLauncher:
    launcher = RayLauncher(Checkpoints(folder=checkpoints, every_seconds=0.0))
    launcher.open(slots)
    launcher.start(nothing)
    return launcher


def test_trials_of_a_killed_actor_go_on_elsewhere_with_other_slots(
    cluster: None, tmp_path: Path
) -> None:
    """kill -9 while they wait at a rung: they are told of as lost; another stack replays their
    epochs, trains the rest, and ends alike.
    """
    specs = [trial(number) for number in range(3)]
    with closing(opened(tmp_path, slots=3)) as launcher:
        for spec in specs:
            launcher.admit(spec)
        held = {place: set(place.keys) for place in launcher._places}
        news = until(
            launcher,
            lambda news: (
                sum(isinstance(one, Measurement) and one.epoch == RUNG for one in news) == 3
            ),
        )
        assert {path.name for path in tmp_path.glob("1/*")} == {"0.pt", "1.pt", "2.pt"}
        for place, keys in held.items():
            os.kill(process(place), signal.SIGKILL)
            for key in keys:
                launcher.go_on(key)
        news = until(launcher, lambda news: len(news) == 3)
        assert {one.key for one in news if isinstance(one, WorkerLost)} == {
            spec.key for spec in specs
        }
    with closing(opened(tmp_path, slots=1)) as launcher:
        waiting, news = list(specs), []
        while sum(isinstance(one, Finished) for one in news) < 3:
            while waiting and launcher.n_free():
                launcher.admit(waiting.pop())
            latest = launcher.measurements(0.5)
            for one in latest:
                if isinstance(one, Measurement) and one.epoch == RUNG:
                    launcher.go_on(one.key)
            news += latest
        assert any(tmp_path.glob("1/*"))  # of those whose end may not have been written down yet
        until(launcher, lambda _: not any(tmp_path.glob("1/*")))
    for spec in specs:
        told = [one for one in news if isinstance(one, Measurement) and one.key == spec.key]
        assert [one.seconds == 0.0 for one in told] == [True] * RUNG + [False] * RUNG
        assert_equal_curves([one.values for one in told], alone(spec))


def test_what_is_released_is_forgotten(cluster: None, tmp_path: Path) -> None:
    """A pruned trial's slot is free at once, its checkpoint goes, and nothing more is heard of it."""
    with closing(opened(tmp_path, slots=1)) as launcher:
        launcher.admit(trial(0))
        until(
            launcher,
            lambda news: any(isinstance(one, Measurement) and one.epoch == RUNG for one in news),
        )
        assert launcher.n_free() == 1
        launcher.release("trial 0")
        assert launcher.n_free() == 2
        for number in (1, 2):
            launcher.admit(trial(number, rungs=()))
        news = until(launcher, lambda news: sum(isinstance(one, Finished) for one in news) == 2)
        until(launcher, lambda _: not any(tmp_path.glob("1/*")))
    assert {one.key for one in news} == {"trial 1", "trial 2"}


class Counting(RayLauncher):
    """Counts the messages that come from its actors."""

    n_heard = 0

    def _hear(self, place: Place) -> Sequence[News]:
        self.n_heard += 1
        return super()._hear(place)


def test_an_epoch_is_one_message_a_worker_however_many_trials_it_trains(cluster: None) -> None:
    with closing(Counting()) as launcher:
        launcher.open(16)
        launcher.start(nothing)
        launcher.n_heard = 0
        for number in range(launcher.n_free()):
            launcher.admit(trial(number, rungs=(1, 2, 3), budget_epochs=4, checkpoint=""))
        news: list[News] = []
        while sum(isinstance(one, Finished) for one in news) < 32:
            latest = launcher.measurements(5.0)
            for one in latest:
                launcher.go_on(one.key)
            news += latest
        assert sum(isinstance(one, Measurement) for one in news) == 32 * 4
        # at last each is told that its trials' ends are known
        assert 2 * 4 <= launcher.n_heard <= 2 * 4 + 2


def test_all_actors_measure_at_once_and_their_rates_add_up(cluster: None) -> None:
    with closing(RayLauncher()) as launcher:
        assert launcher.start(nothing).startswith("2 x core of ")
        assert launcher.n_free() == 0  # not before it is open
        assert launcher.candidates() == candidates(on_gpu=False)
        together = launcher.measure(trial(1), 1, None, nothing)
        each = ray.get(
            [place.actor.measure.remote(trial(1), 1, None, 2) for place in launcher._places]
        )
        assert (together.slots, together.refusal) == (1, "")
        assert together.steps_per_second > 1.2 * min(rate.steps_per_second for rate in each)
        with pytest.raises(NotMeasuredError, match="there is no workload named 'nothing'"):
            launcher.measure(trial(1, workload="nothing"), 1, None, nothing)
        launcher.open(2)
        assert launcher.n_free() == 4  # a trial that raises costs no worker


def test_memory_that_does_not_hold_the_copies_is_told_of_and_freed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A number that has fitted is measured again whatever is free meanwhile; on a CPU torch tells
    of a full memory in words alone.
    """
    update, actor = StackedModel.update, TrialActor(on_gpu=False, checkpoints=None)
    monkeypatch.setattr(calibration, "free_bytes", lambda: 0)
    alone = actor.measure(trial(1), 1, None, 1)
    assert alone is not None
    # a process that had more memory before may show none that one trial took
    one = replace(alone, bytes_per_slot=1)
    assert actor.measure(trial(1), 2, one, 1) is None
    two = actor.measure(trial(1), 2, replace(one, slots=2), 1)
    assert two is not None
    assert two.steps_per_second > 0

    def tight(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(StackedModel, "update", tight)
    assert actor.measure(trial(1), 4, replace(one, slots=4), 1) is None
    assert actor._measurer is None
    monkeypatch.setattr(StackedModel, "update", update)
    assert actor.measure(trial(1), 2, two, 1) is not None


def test_a_worker_that_dies_while_it_measures_does_not_end_the_study(cluster: None) -> None:
    with closing(RayLauncher()) as launcher:
        launcher.start(nothing)
        victims = [process(launcher._places[0])]

        def kill() -> None:
            while victims:
                os.kill(victims.pop(), signal.SIGKILL)

        # it is measuring when it dies, however fast that would be
        os.kill(victims[0], signal.SIGSTOP)
        with pytest.raises(NotMeasuredError, match="ActorDiedError"):
            launcher.measure(trial(1), 1, None, kill)
        launcher.open(1)
        launcher.start(nothing)
        assert launcher.n_free() == 2


def test_two_studies_share_every_core(cluster: None) -> None:
    with closing(RayLauncher(n_studies=2)) as first, closing(RayLauncher(n_studies=2)) as second:
        for launcher in (first, second):
            assert launcher.start(nothing).endswith(", each shared by 2 studies")
            launcher.open(1)
            assert launcher.n_free() == 2


@pytest.mark.parametrize("cluster", [{"num_cpus": 3, "num_gpus": 3}], indirect=True)
def test_a_study_has_one_actor_on_each_gpu_though_ray_fills_one_after_another(
    cluster: None,
) -> None:
    with closing(RayLauncher(n_studies=3)) as first:
        first.start(nothing)
        assert sorted(place.home.gpu for place in first._places if place.home is not None) == [
            "0",
            "1",
            "2",
        ]
        first.measurements(0.0)
        with closing(RayLauncher(n_studies=3)) as second:
            second.start(nothing)
            assert sorted(place.home.gpu for place in second._places if place.home is not None) == [
                "0",
                "1",
                "2",
            ]


class Recording(RayLauncher):
    """Remembers what it was told to train, and what it told."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        super().__init__(checkpoints)
        self.specs: dict[str, TrialSpec] = {}
        self.told: defaultdict[str, list[Measurement]] = defaultdict(list)

    def admit(self, spec: TrialSpec) -> None:
        self.specs[spec.key] = spec
        super().admit(spec)

    def measurements(self, timeout_seconds: float) -> Sequence[News]:
        news = super().measurements(timeout_seconds)
        for one in news:
            if isinstance(one, Measurement):
                self.told[one.key].append(one)
        return news


class Holding(Recording):
    """Lets no trial pass its rung."""

    def go_on(self, key: str) -> None:
        """Leave it waiting."""


def test_the_next_holder_of_a_study_goes_on_where_its_trials_stood(
    cluster: None,
    database: Database,
    storage: Storage,
    make_spec: Callable[..., StudySpec],
    now: datetime,
    tmp_path: Path,
) -> None:
    """The dispatcher dies, and its actors with it, when trials stand at a rung; the next one, with
    other slots, ends the study.
    """
    pruner = {"name": "median", "warmup_epochs": 5, "every_epochs": 100, "startup_trials": 100}
    plan = {
        "n_trials": 3,
        "epochs": 8,
        "sampler": "random",
        "pruner": pruner,
        "rerun": {"n_seeds": 0},
    }
    with database.session(write=True) as session:
        metric = Metric(name="accuracy", direction="maximize", worst=0.0)
        study = studies.submit(
            session,
            make_spec(options=OPTIONS, search=plan, confirm={"n_seeds": 2}),
            metric,
            owner="ada",
            now=now,
        )

    def hold(launcher: RayLauncher, slots: int, at: datetime) -> StudyRun:
        launcher.open(slots)
        launcher.start(nothing)
        with database.session(write=True) as session:
            acquired = leases.acquire(session, "d", at, LEASE)
        assert acquired is not None
        held = {
            "database": database,
            "storage": storage,
            "launcher": launcher,
            "protocol": {},
            "lease_duration": LEASE,
        }
        run = StudyRun(*acquired, **held, now=lambda: at)  # type: ignore[arg-type]  # of many types
        run.begin()
        return run

    checkpoints = Checkpoints(folder=tmp_path, every_seconds=0.0)
    with closing(Holding(checkpoints)) as first:
        run = hold(first, 3, now)
        while sum(map(len, first.told.values())) < 6 * 5:
            run.step(0.5)
    begun = {first.specs[key].checkpoint: len(told) for key, told in first.told.items()}
    assert set(begun.values()) == {5}
    with closing(Recording(checkpoints)) as second:
        run = hold(second, 2, now + 2 * LEASE)
        while not run.step(0.5):
            pass
    for key, told in second.told.items():
        spec = second.specs[key]
        assert sum(one.seconds == 0.0 for one in told) == begun.get(spec.checkpoint, 0)
        trial_id = int(spec.checkpoint.removeprefix(f"{study.id}/"))
        with database.session() as session:
            kept = [
                {name: float(value or 0) for name, value in row.values.items()}
                for row in measurements.of_trial(session, trial_id)
            ]
        assert_equal_curves(kept, alone(spec))
    with database.session() as session:
        table = trials.table(session, study.id)
    assert Counter((one.phase, one.state, one.n_attempts) for one in table) == {
        ("search", "complete", 2): 6,
        ("confirm", "complete", 1): 4,
    }


def test_close_ends_every_actor(cluster: None) -> None:
    launcher = RayLauncher()
    launcher.start(nothing)
    pids = [process(place) for place in launcher._places]
    launcher.close()
    assert all(has_ended(pid) for pid in pids)
