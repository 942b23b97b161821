"""Fixtures of many tests: empty and migrated databases, a spec, a catalogue, a running service."""

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from garbage import pytest_collection  # noqa: F401
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.search import Storage, open_storage
from gradnoise_service.store.database import Database, open_database
from postgres_server import PostgresServer, postgres_binaries
from service_up import Up, service_up

DATABASES = [
    "sqlite",
    pytest.param("postgres", marks=[pytest.mark.postgres, pytest.mark.postgres_repeat]),
]
BOTH_DATABASES = Path(__file__).parent / "service" / "store"
"""The tests in this folder run on both databases in the default suite."""

# on a busy machine any example may take long
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
# rich tracebacks of an app print its local variables, which takes seconds
structlog.dev.ConsoleRenderer.get_active().exception_formatter = structlog.dev.plain_traceback


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark repeats on PostgreSQL outside the store's tests as slow; move long tests to the start.

    Long tests have a timeout of their own. At the end of a run they would leave processes idle.
    """
    for item in items:
        is_repeat = item.get_closest_marker("postgres_repeat") is not None
        if is_repeat and not item.path.is_relative_to(BOTH_DATABASES):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the session.

    Without PostgreSQL's programs tests are skipped; with GRADNOISE_REQUIRE_POSTGRES they fail.
    """
    binaries = postgres_binaries()
    if binaries is None:
        message = (
            "PostgreSQL is not installed: no initdb in /usr/lib/postgresql/*/bin or on PATH "
            "(Debian: apt-get install postgresql)"
        )
        (pytest.fail if os.environ.get("GRADNOISE_REQUIRE_POSTGRES") else pytest.skip)(message)
    with tempfile.TemporaryDirectory(prefix="gradnoise-pg-", ignore_cleanup_errors=True) as folder:
        server = PostgresServer(binaries=binaries, folder=Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer) -> str:
    """The name of a migrated database that tests copy."""
    from gradnoise_service.prepare_database import prepare_database

    name = postgres_server.create()
    prepare_database(postgres_server.url(name))
    return name


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a migrated database that tests copy."""
    from gradnoise_service.prepare_database import prepare_database

    path = tmp_path_factory.mktemp("template") / "gradnoise.db"
    prepare_database(f"sqlite:///{path}")
    return path


@pytest.fixture(params=DATABASES)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database, on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'gradnoise.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.create()
    yield server.url(name)
    server.drop(name)


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a new migrated database, on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        path = tmp_path / "gradnoise.db"
        with (
            closing(sqlite3.connect(request.getfixturevalue("sqlite_template"))) as template,
            closing(sqlite3.connect(path)) as copy,
        ):
            template.backup(copy)
        yield f"sqlite:///{path}"
        return
    template_name: str = request.getfixturevalue("postgres_template")
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.create(template_name)
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """The migrated database, opened."""
    database = open_database(database_url)
    yield database
    database.dispose()


@pytest.fixture
def storage(database_url: str) -> Iterator[Storage]:
    """Optuna's storage in the database."""
    storage = open_storage(database_url)
    yield storage
    storage.remove_session()
    storage.engine.dispose()


@pytest.fixture
def now() -> datetime:
    """The current time of tests that take it as an argument."""
    return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def make_spec() -> Callable[..., StudySpec]:
    """A function that returns a small legal spec with changed fields.

    `make_spec(confirm={"n_seeds": 9})` replaces the field `confirm`.
    """

    def make(**changes: object) -> StudySpec:
        plain: dict[str, object] = {
            "name": "a study",
            "workload": "mlp",
            "options": {"dataset": "digits"},
            "smallest_difference": 0.02,
            "space": {"lr": {"low": 0.003, "high": 0.3, "log": True}},
            "search": {
                "n_trials": 4,
                "epochs": 3,
                "repeats": 1,
                "sampler": "random",
                "rerun": {"n_seeds": 0},
            },
            "confirm": {"n_seeds": 5},
            "seed": 1,
        }
        return StudySpec.model_validate(plain | changes)

    return make


@pytest.fixture
def catalogue_document() -> Mapping[str, object]:
    """A worker's catalogue with a single workload, in which the specs of `make_spec` are legal."""
    lr = {"name": "lr", "description": "Learning rate.", "low": 0.0, "low_open": True}
    variance = {"name": "eta", "description": "Variance of the noise at step 0.", "low": 0.0}
    decay = {"name": "gamma", "description": "Decay exponent.", "low": 0.0}
    momentum = {"name": "momentum", "description": "Momentum.", "low": 0.0, "high": 0.999}
    words = {"choices": ["constant", "step"]}
    rate = {"name": "lr_schedule", "description": "How the rate changes.", **words}
    every = {
        "name": "lr_every_epochs",
        "description": "Epochs from one rate to the next.",
        "low": 1,
        "integer": True,
    }
    step = {"field": "lr_schedule", "values": ["step"]}
    steps = {"kind": "needs", "field": "lr_every_epochs", "when": [step]}
    on_digits = {"field": "dataset", "values": ["digits"]}
    shallow = {"kind": "at_most", "field": "depth", "bound": 50, "when": [on_digits]}
    return {
        "versions": {"gradnoise": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
        "protocol": {
            "formulas": {"none": "g_t", "annealed": "sigma_t^2 = eta / (1 + t)^gamma"},
            "update_order": "noise is added after clipping",
            "unit_of_t": "optimizer updates, from 0",
        },
        "workloads": [
            {
                "name": "mlp",
                "description": "A deep network of ReLU layers.",
                "options_schema": {
                    "$schema": "https://json-schema.org/draft/2020-12/schema",
                    "type": "object",
                    "properties": {
                        "dataset": {
                            "type": "string",
                            "enum": ["digits", "mnist"],
                            "default": "digits",
                            "description": "The images.",
                        },
                        "depth": {
                            "type": "integer",
                            "minimum": 1,
                            "maximum": 100,
                            "default": 20,
                            "description": "Hidden layers.",
                        },
                    },
                    "additionalProperties": False,
                    "rules": [shallow],
                },
                "metrics": [
                    {
                        "name": "accuracy",
                        "direction": "maximize",
                        "worst": 0.0,
                        "description": "Share of images classified correctly.",
                        "best": None,
                        "has_test": True,
                    },
                    {
                        "name": "loss",
                        "direction": "minimize",
                        "worst": 100.0,
                        "description": "Cross-entropy.",
                        "best": None,
                        "has_test": True,
                    },
                ],
                "parameters": [],
                "rules": [],
                "stacks": True,
                "techniques": None,
            }
        ],
        "techniques": [
            {
                "name": "none",
                "description": "Plain training.",
                "formula": "g_t",
                "source": "",
                "parameters": [],
                "required": [],
                "rules": [],
            },
            {
                "name": "annealed",
                "description": "Annealed gradient noise.",
                "formula": "sigma_t^2 = eta / (1 + t)^gamma",
                "source": "arXiv:1511.06807",
                "parameters": [variance, decay],
                "required": ["eta", "gamma"],
                "rules": [],
            },
        ],
        "optimizers": [
            {
                "name": "sgd",
                "description": "Stochastic gradient descent.",
                "formula": "w <- w - lr g",
                "source": "Robbins and Monro 1951",
                "parameters": [lr, momentum, rate, every],
                "required": ["lr"],
                "rules": [
                    steps,
                    {"kind": "above", "field": "momentum", "bound": 0, "when": [step]},
                ],
            },
            {
                "name": "adam",
                "description": "Adam.",
                "formula": "w <- w - lr m / sqrt(v)",
                "source": "arXiv:1412.6980",
                "parameters": [lr],
                "required": ["lr"],
                "rules": [],
            },
        ],
    }


@pytest.fixture
def up(tmp_path: Path, database_url: str) -> Iterator[Up]:
    """A new service, started by `gradnoise up`, on SQLite and on PostgreSQL."""
    with service_up(tmp_path, database_url) as service:
        yield service
