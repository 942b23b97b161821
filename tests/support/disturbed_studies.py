"""A queue of studies whose service and database fail, each compared with an undisturbed twin.

Some are paused, stopped, cancelled and cloned, retried or deleted meanwhile. The moments are drawn
from a seed.
"""

import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import optuna
from sqlalchemy import select

from gradnoise_service.client import ApiError, Client, UnreachableError
from gradnoise_service.client.study_info import StudyInfo
from gradnoise_service.domain.study import STUDY_ENDED, Study, Trial
from gradnoise_service.search import Storage, open_storage
from gradnoise_service.store import studies, trials
from gradnoise_service.store.database import Database, is_unavailable, open_database
from gradnoise_service.store.tables import StudyRow
from study_outcomes import Outcome, n_attempts, outcome
from study_runs import assert_exactly_as_declared, assert_recorded

Answer = TypeVar("Answer")
Steps = Generator[None, None, Answer]
"""What takes time; it advances with each `next`, and returns an answer at its end."""

MLP = {"dataset": "digits", "depth": 2, "width": 16, "init": "he"}
TUNED = {
    "workload": "mlp",
    "options": MLP,
    "space": {"lr": {"low": 0.01, "high": 0.3, "log": True}},
    "search": {
        "n_trials": 5,
        "repeats": 1,
        "epochs": 24,
        "lag": 2,
        "pruner": {"name": "median", "startup_trials": 2, "warmup_epochs": 8, "every_epochs": 8},
        "rerun": {"top": 2, "n_seeds": 1},
    },
    "confirm": {"n_seeds": 3},
}
NOISY = {"name": "noisy", "techniques": ["annealed"], "space": {"eta": 0.3, "gamma": 0.55}}
ARMS = [{"name": "baseline", "techniques": ["none"]}, NOISY]
GRID = {
    "workload": "mlp",
    "options": MLP,
    "arms": ARMS,
    "space": {"lr": {"choices": [0.03, 0.1]}},
    "confirm": {"n_seeds": 3, "epochs": 24},
}
FUNCTION = {
    "workload": "flaky",
    "arms": ARMS,
    "space": {"lr": 0.01},
    "confirm": {"n_seeds": 6, "epochs": 20},
}
KINDS: dict[str, dict[str, Any]] = {"tuned": TUNED, "grid": GRID, "function": FUNCTION}
TURNS = ("function", "tuned", "function", "grid")
COMMON = {"smallest_difference": 0.02, "seed": 7, "max_attempts": 10}
VERBS = ("pause", "cancel", "retry", "stop", "prioritize", "delete", "")
UNAVAILABLE = (429, 503)
LOST = ("worker_lost", "stack_lost", "displaced", "orphaned")
LONGEST_WAIT_SECONDS = 6.0
MOSTLY = 0.98
"""Studies are mostly running when a verb is done that a running one admits."""


@dataclass
class DisturbedStudies:
    """Studies that are submitted to a service, and what is wrong with them.

    Args:
        client: Of the service.
        database_url: Its database.
        folder: Its home.
        twins: The outcome of an undisturbed study of each kind; the first of a kind adds its own.
        seed: Determines the moments of the verbs.
        wrong: What is wrong.
        verbs: How often each verb was done, or refused.
        ended: How many studies have ended, by how they did.
        n_disturbed: How many of them lost attempts with their worker or dispatcher.
        n_lost: How many attempts that are.
    """

    client: Client
    database_url: str
    folder: Path
    twins: dict[str, Outcome]
    seed: int
    wrong: list[str] = field(default_factory=list)
    verbs: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    n_disturbed: int = 0
    n_lost: int = 0

    def __post_init__(self) -> None:
        self._draw = random.Random(self.seed)
        self._lives: list[Steps[None]] = []
        self._n_submitted = 0
        self._kept: list[int] = []
        self._deleted: list[int] = []

    @property
    def n_live(self) -> int:
        """How many studies have not ended."""
        return len(self._lives)

    def submit(self, kind: str, verb: str = "") -> None:
        """Submit a study, on which the verb is done meanwhile."""
        self._n_submitted += 1
        self._lives.append(self._life(f"{kind} {self._n_submitted}", kind, verb))

    def submit_next(self) -> None:
        """Submit the next study of the queue: the kinds and verbs take turns."""
        n = self._n_submitted
        verb = VERBS[n % len(VERBS)]
        self.submit("function" if verb == "retry" else TURNS[n % len(TURNS)], verb)

    def advance(self) -> None:
        """Take the next step with each study that has not ended."""
        self._lives = [life for life in self._lives if self._goes_on(life)]

    def _goes_on(self, life: Steps[None]) -> bool:
        try:
            next(life)
        except StopIteration:
            return False
        except ApiError as error:
            self.wrong.append(f"{error.status} {error} {error.errors}")
            return False
        return True

    def left_behind(self) -> list[str]:
        """Return what remains of deleted studies, and what no extension could continue."""
        checkpoints = self.folder / "checkpoints"
        with opened(self.database_url) as (database, storage):
            with database.session() as session:
                rows = session.scalars(select(StudyRow.id).where(StudyRow.id.in_(self._deleted)))
                found = [f"study {id}" for id in rows]
                kept = {
                    checkpoints / str(id) / f"{trial_id}.pt"
                    for id in self._kept
                    for trial_id in trials.extensible(session, id)
                }
            names = optuna.get_all_study_names(storage)
        found += [name for name in names if any(f" ({id}) " in name for id in self._deleted)]
        return found + [str(f) for f in checkpoints.rglob("*") if f.is_file() and f not in kept]

    def _life(self, name: str, kind: str, verb: str) -> Steps[None]:
        """Submit a study and do the verb; once it has ended, compare it with its twin."""
        needed = self.folder / f"{name}.needed"
        if verb != "retry":
            needed.touch()
        options = {"options": {"needs": str(needed)}} if kind == "function" else {}
        attempts = {"max_attempts": 3} if verb == "retry" else {}
        spec = {**COMMON, **KINDS[kind], **options, **attempts, "name": name}
        study = yield from self._until_end(spec, verb)
        while verb == "retry" and study is not None:
            needed.touch()
            if not (yield from self._act(verb, self.client.retry, study.id)):
                break
            study = yield from self._end(study.id)
        if study is None:
            return
        yield from self._check(study, kind)
        if study.state == "cancelled":
            values = yield from self._answer(lambda: self.client.cloned(study.id))
            clone = yield from self._until_end(values, "")
            assert clone is not None
            yield from self._check(clone, kind)
            self._kept.append(clone.id)
        if verb in ("cancel", "delete"):
            yield from self._delete(study.id)
        else:
            self._kept.append(study.id)

    def _until_end(self, spec: Mapping[str, Any], verb: str) -> Steps[StudyInfo | None]:
        """Submit a study, do a verb on it and return it at its end; None if it was deleted."""
        key = uuid.uuid4().hex
        study = yield from self._answer(lambda: self.client.submit(spec, idempotency_key=key))
        draw = random.Random(f"{self.seed} {spec['name']}")
        if verb in ("pause", "stop", "cancel"):
            while draw.random() < MOSTLY and study.state == "queued":
                yield
                study = yield from self._answer(partial(self.client.study, study.id))
            yield from _pause(draw)
        if verb == "pause":
            yield from self._act(verb, self.client.pause, study.id)
            yield from _pause(draw)
            yield from self._act("resume", self.client.resume, study.id)
        elif verb == "prioritize":
            priority = draw.randint(-100, 100)
            yield from self._act(verb, lambda id: self.client.prioritize(id, priority), study.id)
        elif verb in ("cancel", "stop"):
            yield from self._act(verb, getattr(self.client, verb), study.id)
        elif verb == "delete" and (yield from self._delete(study.id)):
            return None
        return (yield from self._end(study.id))

    def _end(self, id: int) -> Steps[StudyInfo]:
        """Return a study once it has ended, with its trials."""
        while True:
            study = yield from self._answer(partial(self.client.study, id))
            if study.state in STUDY_ENDED and not study.is_settling:
                return study
            yield

    def _delete(self, id: int) -> Steps[bool]:
        """Delete a study and return True, or False if it runs."""
        is_deleted = yield from self._act("delete", self.client.delete, id)
        if is_deleted:
            self._deleted.append(id)
        return is_deleted

    def _act(self, verb: str, call: Callable[[int], object], id: int) -> Steps[bool]:
        """Do a verb until it is answered; return False if the state does not allow it."""
        try:
            yield from self._answer(partial(call, id))
        except ApiError as error:
            if error.status != 409:
                raise
            self.verbs[f"{verb}, refused"] += 1
            return False
        self.verbs[verb] += 1
        return True

    def _answer(self, call: Callable[[], Answer]) -> Steps[Answer]:
        """Repeat a request until it is answered."""
        while True:
            try:
                return call()
            except UnreachableError:
                yield
            except ApiError as error:
                if error.status not in UNAVAILABLE:
                    raise
                yield

    def _check(self, study: StudyInfo, kind: str) -> Steps[None]:
        """Note what is wrong with a study that has ended, once the database answers."""
        while True:
            try:
                found = self._wrong(study, kind)
                break
            except Exception as error:
                if not is_unavailable(error):
                    raise
                yield
        self.wrong += [f"study {study.id}, {study.name}, {study.state}: {each}" for each in found]
        self.ended[f"{kind} {'stopped' if study.stops else study.state}"] += 1

    def _wrong(self, info: StudyInfo, kind: str) -> list[str]:
        if info.state == "failed":
            return [str(info.error)]
        with opened(self.database_url) as (database, storage):
            with database.session() as session:
                study = studies.get(session, info.id, None)
                stored = trials.of_study(session, info.id)
            n_lost = n_attempts(database, study, LOST)
            found = outcome(database, study)
            n_open = n_attempts(database, study, ["running"])
            wrong = [f"running attempts: {n_open}"] if n_open else []
            try:
                if info.state == "cancelled":
                    assert_settled(storage, study, stored)
                else:
                    assert_recorded(database, storage, study)
                if info.state == "complete" and not info.stops:
                    assert_exactly_as_declared(database, storage, study)
            except AssertionError as error:
                wrong.append(str(error))
        self.n_lost += n_lost
        self.n_disturbed += n_lost > 0
        if info.state == "cancelled":
            return wrong
        twin = self.twins.setdefault(kind, found)
        return wrong + found.differences(twin, of_all=not info.stops)


def assert_settled(storage: Storage, study: Study, stored: Sequence[Trial]) -> None:
    """Assert that every trial of a cancelled study has ended, in Optuna too."""
    assert all(trial.has_ended for trial in stored)
    ours = {study.search_name(key) for key in study.design.search_keys}
    for name in ours & set(optuna.get_all_study_names(storage)):
        recorded = optuna.load_study(study_name=name, storage=storage).trials
        assert all(trial.state.is_finished() for trial in recorded)


def _pause(draw: random.Random) -> Steps[None]:
    until = time.monotonic() + draw.uniform(0, LONGEST_WAIT_SECONDS)
    while time.monotonic() < until:
        yield


@contextmanager
def opened(url: str) -> Iterator[tuple[Database, Storage]]:
    """Open a database and Optuna's storage in it for a block."""
    database, storage = open_database(url), open_storage(url)
    try:
        yield database, storage
    finally:
        storage.remove_session()
        storage.engine.dispose()
        database.dispose()
