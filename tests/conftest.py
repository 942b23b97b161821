"""What many tests share: both kinds of database, migrated and empty; a spec; a catalogue; the
folder of real data.
"""

import itertools
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.store.database import Database, open_database
from service_up import Up, service_up

DATABASES = [
    "sqlite",
    pytest.param("postgres", marks=[pytest.mark.postgres, pytest.mark.postgres_repeat]),
]
BOTH_DATABASES = Path(__file__).parent / "service" / "store"
"""The tests in this folder run on both databases in the default suite."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move PostgreSQL repeats into the slow suite, and let one process run all tests with Ray."""
    for item in items:
        is_repeat = item.get_closest_marker("postgres_repeat") is not None
        if is_repeat and not item.path.is_relative_to(BOTH_DATABASES):
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("ray") is not None:
            item.add_marker(pytest.mark.xdist_group("ray"))


@dataclass
class PostgresServer:
    """A throw-away PostgreSQL server on a socket in a folder of its own; nothing outlives the
    folder.

    `binaries` holds initdb, pg_ctl and psql. PostgreSQL refuses to run as root: there the commands
    run as the user `postgres`.
    """

    binaries: Path
    folder: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)
    keeper: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        self._run(
            "initdb",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-sync",
            f"--pgdata={self.folder}/data",
        )
        options = (
            f"-k {self.folder} -c listen_addresses='' -c fsync=off -c synchronous_commit=off -c "
            "full_page_writes=off"
        )
        # ends the server when its standard input closes: in stop(), or when these tests die in
        # whatever way
        script = (
            f"read _; {self.binaries}/pg_ctl stop --mode=immediate --pgdata={self.folder}/data; rm "
            f"-rf {self.folder}"
        )
        command = [*self._user(), "sh", "-c", script]
        null = subprocess.DEVNULL
        self.keeper = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=null,
            stderr=null,
            cwd="/",
            start_new_session=True,
        )
        self._run(
            "pg_ctl",
            "start",
            "--wait",
            f"--pgdata={self.folder}/data",
            f"--log={self.folder}/log",
            f"--options={options}",
        )

    def stop(self) -> None:
        self.keeper.communicate()

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://postgres@/{name}?host={self.folder}"

    def create(self, template: str = "template0") -> str:
        """Create a database as a copy of the template and return its name."""
        name = f"test_{next(self.numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str, database: str = "postgres") -> str:
        """Run one statement as the superuser and return what psql prints."""
        return self._run(
            "psql",
            f"--host={self.folder}",
            "--username=postgres",
            "--no-psqlrc",
            "-qtA",
            f"--command={statement}",
            database,
        )

    def _run(self, program: str, *arguments: str) -> str:
        # the server must not inherit pytest's pipes, or whoever waits for their end waits for the
        # server
        with tempfile.TemporaryFile("w+") as output:
            command = [*self._user(), str(self.binaries / program), *arguments]
            code = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                check=False,
            ).returncode
            output.seek(0)
            text = output.read()
        assert code == 0, f"{program} ended with {code}: {text}"
        return text

    def _user(self) -> list[str]:
        return ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []


def postgres_binaries() -> Path | None:
    """Return the folder of PostgreSQL's server programs, the newest of those installed."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda path: int(path.parent.name))
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real PostgreSQL server for the session; without its programs: skip, or fail where
    GRADNOISE_REQUIRE_POSTGRES is set.
    """
    binaries = postgres_binaries()
    if binaries is None:
        message = (
            "PostgreSQL is not installed: no initdb in /usr/lib/postgresql/*/bin nor on PATH "
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
    from gradnoise_service.migrate import prepare_database

    name = postgres_server.create()
    prepare_database(postgres_server.url(name))
    return name


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from gradnoise_service.migrate import prepare_database

    path = tmp_path_factory.mktemp("template") / "gradnoise.db"
    prepare_database(f"sqlite:///{path}")
    return path


@pytest.fixture(params=DATABASES)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database that holds nothing yet, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'gradnoise.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.create()
    yield server.url(name)
    server.drop(name)


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a migrated database of the test's own, once on SQLite and once on PostgreSQL."""
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
    """The migrated database, open."""
    database = open_database(database_url)
    yield database
    database.dispose()


@pytest.fixture
def now() -> datetime:
    """The moment at which tests happen that are given their time."""
    return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def make_spec() -> Callable[..., StudySpec]:
    """A function that returns a small legal spec with the given fields changed:
    `make_spec(confirm={"n_seeds": 9})`.
    """

    def make(**changes: object) -> StudySpec:
        plain: dict[str, object] = {
            "name": "a study",
            "workload": "mlp",
            "options": {"dataset": "digits"},
            "smallest_difference": 0.02,
            "space": {"lr": {"low": 0.003, "high": 0.3, "log": True}},
            "search": {"n_trials": 4, "epochs": 3, "sampler": "random", "rerun": {"n_seeds": 0}},
            "confirm": {"n_seeds": 5},
            "seed": 1,
        }
        return StudySpec.model_validate(plain | changes)

    return make


@pytest.fixture
def catalogue_document() -> Mapping[str, object]:
    """What a worker announces, cut down to one workload: what `make_spec` asks for can run."""
    lr = {"name": "lr", "description": "Learning rate.", "low": 0.0, "low_open": True}
    variance = {"name": "eta", "description": "Variance of the noise at step 0.", "low": 0.0}
    decay = {"name": "gamma", "description": "Decay exponent.", "low": 0.0}
    momentum = {"name": "momentum", "description": "Momentum.", "low": 0.0, "high": 0.999}
    words = {"choices": ["constant", "step"], "needs": {"step": ["lr_every_epochs"]}}
    rate = {"name": "lr_schedule", "description": "How the rate changes.", **words}
    every = {
        "name": "lr_every_epochs",
        "description": "Epochs from one rate to the next.",
        "low": 1,
        "integer": True,
    }
    return {
        "versions": {"gradnoise": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
        "protocol": {
            "formulas": {"none": "g_t", "annealed": "sigma_t^2 = eta / (1 + t)^gamma"},
            "clip_order": "noise is added after clipping",
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
                },
                "metrics": [
                    {
                        "name": "accuracy",
                        "direction": "maximize",
                        "worst": 0.0,
                        "description": "Share of images named rightly.",
                    },
                    {
                        "name": "loss",
                        "direction": "minimize",
                        "worst": 100.0,
                        "description": "Cross-entropy.",
                    },
                ],
                "parameters": [],
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
            },
            {
                "name": "annealed",
                "description": "Annealed gradient noise.",
                "formula": "sigma_t^2 = eta / (1 + t)^gamma",
                "source": "arXiv:1511.06807",
                "parameters": [variance, decay],
                "required": ["eta", "gamma"],
            },
        ],
        "optimizers": [
            {
                "name": "sgd",
                "description": "Stochastic gradient descent.",
                "parameters": [lr, momentum, rate, every],
                "required": ["lr"],
            },
            {"name": "adam", "description": "Adam.", "parameters": [lr], "required": ["lr"]},
        ],
    }


@pytest.fixture
def up(tmp_path: Path, database_url: str) -> Iterator[Up]:
    """A service of the test's own with both kinds of database, as `gradnoise up` starts it."""
    with service_up(tmp_path, database_url) as service:
        yield service
