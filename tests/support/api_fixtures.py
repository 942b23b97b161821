"""An app on a database, its clients, and studies in every state."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from gradnoise_service.app import create_app
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Study
from gradnoise_service.settings import Settings
from gradnoise_service.store import attempts, catalogues, leases, studies, trials, verbs
from gradnoise_service.store.database import Database

ADDRESS = "http://127.0.0.1:8000"
ADMIN_TOKEN = "an-admin-token-for-tests"


def n_stored(database: Database) -> int:
    with database.session() as session:
        return len(studies.page(session, owner=None, before=None, limit=100))


@dataclass
class Workshop:
    """Brings studies into a state by the functions of the store that the workers use."""

    database: Database
    make_spec: Callable[..., StudySpec]
    now: datetime
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def queued(self, *, owner: str = "local", **changes: object) -> Study:
        spec = self.make_spec(**({"name": f"study {next(self.numbers)}"} | changes))
        metric = Metric(name="accuracy", direction="maximize", worst=0.0)
        with self.database.session(write=True) as session:
            return studies.submit(session, spec, metric, owner=owner, now=self.now)

    def running(self, n_ended: int = 4, **changes: object) -> Study:
        """Return a study of which `n_ended` trials have increasing values and the next one runs."""
        study = self.queued(**changes)
        with self.database.session(write=True) as session:
            acquired = leases.acquire(session, "dispatcher", self.now, timedelta(hours=1))
            assert acquired is not None
            trials.declare(session, study.id, study.design.trials("search"))
            for i, opening in enumerate(
                attempts.waiting(session, study.id, "search")[: n_ended + 1]
            ):
                token = attempts.start(
                    session,
                    opening.trial.id,
                    {"lr": 0.01 * (i + 1)},
                    i,
                    self.now + timedelta(seconds=i),
                )
                if i < n_ended:
                    attempts.add_cost(session, {token: (3, 1.5)})
                    attempts.end(
                        session,
                        token,
                        "complete",
                        self.now + timedelta(seconds=i + 1),
                        value=0.5 + i / 100,
                    )
            return studies.get(session, study.id, None)

    def failed(self) -> Study:
        study = self.queued(priority=100)
        with self.database.session(write=True) as session:
            acquired = leases.acquire(session, "dispatcher", self.now, timedelta(hours=1))
            assert acquired is not None
            leases.fail(session, acquired[1], self.now, "Traceback ...\nValueError: no data")
            return studies.get(session, study.id, None)

    def cancel(self, study: Study) -> None:
        with self.database.session(write=True) as session:
            verbs.cancel(session, study.id, None, self.now)


@pytest.fixture
def workshop(database: Database, make_spec: Callable[..., StudySpec], now: datetime) -> Workshop:
    return Workshop(database=database, make_spec=make_spec, now=now)


@pytest.fixture
def announced(database: Database, catalogue_document: Mapping[str, Any], now: datetime) -> None:
    """Publish the workers' catalogue."""
    with database.session(write=True) as session:
        catalogues.publish(session, catalogue_document, now)


@pytest.fixture
def make_client(
    database: Database, now: datetime, tmp_path: Path
) -> Iterator[Callable[..., TestClient]]:
    """A function that returns a client of an app with the given settings.

    The app's clock advances by a second at each reading.
    """
    opened: list[TestClient] = []

    def make(token: str | None = None, **settings: Any) -> TestClient:
        seconds = itertools.count(1)
        app = create_app(
            Settings(home=tmp_path, **settings),
            database,
            lambda: now + timedelta(seconds=next(seconds)),
        )
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        client = TestClient(
            app,
            base_url=ADDRESS,
            raise_server_exceptions=False,
            follow_redirects=False,
            headers=headers,
        )
        opened.append(client.__enter__())
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(make_client: Callable[..., TestClient], announced: None) -> TestClient:
    """A client on a loopback address, where no token is required."""
    return make_client()


@pytest.fixture
def plain_spec(make_spec: Callable[..., StudySpec]) -> dict[str, Any]:
    """A legal study as plain values."""
    return make_spec().model_dump(mode="json", exclude_defaults=True)
