"""Fixtures: studies with chosen outcomes, a real API, and a worker made of the store."""

import copy
import functools
import hashlib
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

import chosen_outcomes
from gradnoise_service.api.serving import Bounds
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Study, Trial, TrialFile
from gradnoise_service.local import ports
from gradnoise_service.settings import Settings
from gradnoise_service.store import attempts, catalogues, files, leases, logs, studies, trials
from gradnoise_service.store.database import Database, open_database
from live_api import LiveApi


@dataclass
class WorkerPart:
    """Does to studies what a dispatcher does, one step at a time."""

    database: Database
    held: dict[int, leases.Lease] = field(default_factory=dict)
    tokens: dict[int, str] = field(default_factory=dict)
    artifacts: Path = Path(".gradnoise/artifacts")

    def begin(self, study_id: int) -> None:
        """Acquire the study and declare its search, or without one its confirm runs."""
        with self.database.session(write=True) as session:
            acquired = leases.acquire(
                session, "a dispatcher", datetime.now(UTC), timedelta(hours=1)
            )
            assert acquired is not None
            study, lease = acquired
            assert study.id == study_id
            self.held[study_id] = lease
            design = study.design
            trials.declare(session, study_id, design.trials(design.phases[0]))

    def run_all(
        self,
        study_id: int,
        value: Callable[[Trial], float] = lambda trial: 0.5 + trial.number / 100,
    ) -> None:
        """Acquire the study, and bring it to its end with this value of every trial, each of which
        took 2 seconds an epoch.
        """
        now = datetime.now(UTC)
        with self.database.session(write=True) as session:
            acquired = leases.acquire(session, "a dispatcher", now, timedelta(hours=1))
            assert acquired is not None
            study, self.held[study_id] = acquired
            assert study.id == study_id
            design = study.design
            settings = {arm.name: [{"lr": 0.1}] for arm in study.spec.arms}
            for phase in design.phases:
                if phase == "rerun":
                    continue
                trials.declare(session, study_id, design.trials(phase, settings))
                for opening in attempts.waiting(session, study_id, phase):
                    trial = opening.trial
                    token = attempts.start(
                        session, trial.id, trial.params or {"lr": 0.1}, trial.number, now
                    )
                    attempts.add_cost(
                        session, {token: (trial.budget_epochs, 2.0 * trial.budget_epochs)}
                    )
                    attempts.end(session, token, "complete", now, value=value(trial))
        self.complete(study_id)

    def print_in(self, study_id: int, texts: Sequence[str]) -> int:
        """Start the next trial that waits, let it print the texts, and return its id."""
        now = datetime.now(UTC)
        with self.database.session(write=True) as session:
            opening = attempts.waiting(session, study_id, "search")[0]
            token = attempts.start(session, opening.trial.id, {"lr": 0.1}, 0, now)
            for i, text in enumerate(texts):
                position = sum(map(len, texts[:i]))
                new = logs.NewText(token=token, position=position, text=text)
                logs.record(session, study_id, [new], n_kept=100)
        self.tokens[opening.trial.id] = token
        return opening.trial.id

    def save_in(
        self, study_id: int, name: str, content: bytes, *, kept: bytes | None = None
    ) -> int:
        """Let the first trial save a file, kept with this or another content; return its id."""
        with self.database.session(write=True) as session:
            trial_id = trials.of_study(session, study_id)[0].id
            sha256 = hashlib.sha256(content).hexdigest()
            file = TrialFile(trial_id=trial_id, name=name, n_bytes=len(content), sha256=sha256)
            files.record(session, [file], datetime.now(UTC))
        folder = self.artifacts / str(study_id) / str(trial_id)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if kept is None else kept)
        return trial_id

    def retry(self, trial_id: int, error: str) -> None:
        """Fail the running attempt of a trial that `print_in` started; the trial waits again."""
        with self.database.session(write=True) as session:
            attempts.retry(session, self.tokens[trial_id], "failed", datetime.now(UTC), error)

    def end_trial(self, study_id: int, value: float) -> None:
        """Run the next trial that waits, to its end."""
        now = datetime.now(UTC)
        with self.database.session(write=True) as session:
            opening = (
                attempts.waiting(session, study_id, "search")
                or attempts.waiting(session, study_id, "confirm")
            )[0]
            token = attempts.start(
                session,
                opening.trial.id,
                opening.trial.params or {"lr": 0.1},
                opening.trial.number,
                now,
            )
            attempts.add_cost(session, {token: (opening.trial.budget_epochs, 1.5)})
            attempts.end(session, token, "complete", now, value=value)

    def fail(self, study_id: int, error: str) -> None:
        with self.database.session(write=True) as session:
            leases.fail(session, self.held[study_id], datetime.now(UTC), error)

    def complete(self, study_id: int) -> None:
        """End the study with the comparison of what it has measured."""
        from gradnoise_service.compare.assembly import compare

        with self.database.session(write=True) as session:
            study = studies.get(session, study_id, None)
            known = trials.of_study(session, study_id)
            comparison = compare(study.design, study.metric, known, protocol={"versions": {}})
            values = comparison.model_dump(mode="json")
            leases.complete(
                session, self.held[study_id], datetime.now(UTC), values, comparison.verdict
            )


@pytest.fixture
def live_database(tmp_path: Path, sqlite_template: Path) -> Iterator[Database]:
    """A new migrated SQLite database in the folder `home`."""
    (tmp_path / "home").mkdir()
    shutil.copy(sqlite_template, tmp_path / "home" / "gradnoise.db")
    database = open_database(f"sqlite:///{tmp_path / 'home' / 'gradnoise.db'}")
    yield database
    database.dispose()


@pytest.fixture
def quiet() -> Iterator[None]:
    """Silence the log, because stdout belongs to the command under test.

    What the command configures is undone.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def shared_api() -> Iterator[LiveApi]:
    """A server for the whole session; the fixture `api` gives it the database of the test."""
    database = open_database("sqlite://")
    api = LiveApi(Settings(port=ports.free("127.0.0.1")), database)
    api.start()
    yield api
    api.stop()
    database.dispose()


@pytest.fixture
def api(
    shared_api: LiveApi, live_database: Database, worker: WorkerPart, quiet: None
) -> Iterator[LiveApi]:
    """The shared server on a loopback address, on the test's database, with a worker."""
    shared_api.use(live_database)
    yield shared_api
    shared_api.end_streams()


@pytest.fixture
def serve(live_database: Database, tmp_path: Path, quiet: None) -> Iterator[Callable[..., LiveApi]]:
    """A function that starts a server with the given settings on the test's database."""
    with ExitStack() as stack:

        def start(bounds: Bounds | None = None, **settings: Any) -> LiveApi:
            port = ports.free("127.0.0.1")
            api = LiveApi(
                Settings(home=tmp_path / "home", port=port, **settings),
                live_database,
                bounds or Bounds(),
            )
            api.start()
            stack.callback(api.stop)
            return api

        yield start


@pytest.fixture
def worker(live_database: Database, catalogue_document: Mapping[str, Any]) -> WorkerPart:
    """A worker that has announced a workload, which takes any options."""
    document = copy.deepcopy(dict(catalogue_document))
    document["workloads"][0]["options_schema"]["additionalProperties"] = True
    with live_database.session(write=True) as session:
        catalogues.publish(session, document, datetime.now(UTC))
    return WorkerPart(live_database)


@pytest.fixture
def whole_catalogue(live_database: Database, worker: WorkerPart) -> None:
    """What the real workers announce, for the presets."""
    from gradnoise.workloads.catalogue import document

    with live_database.session(write=True) as session:
        catalogues.publish(session, document(), datetime.now(UTC))


@pytest.fixture
def accuracy() -> Metric:
    return Metric(name="accuracy", direction="maximize", worst=0.0)


@pytest.fixture
def loss() -> Metric:
    return Metric(name="loss", direction="minimize", worst=100.0)


@pytest.fixture
def make_design(make_spec: Callable[..., StudySpec]) -> Callable[..., Design]:
    """A function that returns the design of `make_spec`'s spec with the given fields changed."""

    def make(**changes: object) -> Design:
        return Design.of(make_spec(**changes))

    return make


@pytest.fixture
def make_trials(make_spec: Callable[..., StudySpec]) -> Callable[..., tuple[Design, list[Trial]]]:
    """A function that returns a design and trials with the given confirm values.

    For example `make_trials({"baseline": [0.1], "noisy": [0.2]})`.
    """
    return functools.partial(chosen_outcomes.study, make_spec)


@pytest.fixture
def make_grid(make_spec: Callable[..., StudySpec]) -> Callable[..., tuple[Design, list[Trial]]]:
    """As `make_trials`, for a study without a search that runs two learning rates on every seed."""
    return functools.partial(chosen_outcomes.without_search, make_spec)


@pytest.fixture
def make_trial() -> Callable[..., Trial]:
    """A function that returns one trial, with a value or a state.

    For example `make_trial(design, "search", "noisy", 3, 0.5)`.
    """
    return chosen_outcomes.trial


@pytest.fixture
def make_study() -> Callable[..., Study]:
    """A function that returns a complete study of a design and a metric."""

    def make(design: Design, metric: Metric, **changes: object) -> Study:
        fields: dict[str, object] = {
            "id": 7,
            "owner": "ann",
            "state": "complete",
            "created_at": datetime(2026, 1, 2, tzinfo=UTC),
        }
        # fields by name
        return Study(spec=design.spec, metric=metric, **(fields | changes))  # type: ignore[arg-type]

    return make
