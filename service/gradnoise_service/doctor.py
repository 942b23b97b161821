"""Looks at everything the service needs on this machine, and says what to do about what is not
there.
"""

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gradnoise_service import ports
from gradnoise_service.client import Client, ClientError
from gradnoise_service.settings import Settings

NEEDED = ("torch", "optuna", "ray", "optuna-dashboard", "fastapi", "sqlalchemy")
DATA_SETS = ("mnist", "fashion-mnist")
LEAST_DISK_BYTES = 1_000_000_000
FEW_DISK_BYTES = 5_000_000_000


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at, and what to do if it is not well; a `fail` keeps the service
    from working, a `warn` does not.
    """

    name: str
    state: Literal["ok", "warn", "fail"]
    detail: str
    hint: str = ""


def examine(settings: Settings, url: str, token: str | None = None) -> Iterator[Finding]:
    """Look at Python, packages, folders, database, service, workers, data sets and ports, one after
    the other.
    """
    yield Finding(name="Python", state="ok", detail=f"{platform.python_version()} in {sys.prefix}")
    yield from _packages()
    yield _home(settings.home.resolve())
    yield _database(settings)
    yield from _service(settings, url, token)
    yield from _data()


def _packages() -> Iterator[Finding]:
    for name in NEEDED:
        try:
            yield Finding(name=name, state="ok", detail=importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(
                name=name,
                state="fail",
                detail="not installed",
                hint="pip install 'gradnoise[service]'",
            )


def _home(home: Path) -> Finding:
    folder = next(path for path in (home, *home.parents) if path.exists())
    if not os.access(folder, os.W_OK):
        hint = "Set GRADNOISE_HOME to a folder of yours."
        return Finding(
            name="home folder", state="fail", detail=f"{folder} is not writable", hint=hint
        )
    n_bytes = shutil.disk_usage(folder).free
    detail = f"{home}, {n_bytes / 1e9:.1f} GB free"
    if n_bytes < FEW_DISK_BYTES:
        state: Literal["warn", "fail"] = "warn" if n_bytes >= LEAST_DISK_BYTES else "fail"
        return Finding(
            name="home folder",
            state=state,
            detail=detail,
            hint="Make room, or set GRADNOISE_HOME to a larger disk.",
        )
    return Finding(name="home folder", state="ok", detail=detail)


def _database(settings: Settings) -> Finding:
    from gradnoise_service.store import migrate
    from gradnoise_service.store.database import open_database

    database = None
    try:
        if (
            settings.database.startswith("sqlite")
            and not Path(settings.database.removeprefix("sqlite:///")).exists()
        ):
            return Finding(
                name="database",
                state="ok",
                detail="a SQLite file, made by the first `gradnoise up`",
            )
        database = open_database(settings.database)
        database.ping()
        revision, where = database.revision(), database.url.render_as_string(hide_password=True)
    except Exception as error:  # whatever the driver raises
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Finding(
            name="database",
            state="fail",
            detail=said,
            hint="Start it, and look at GRADNOISE_DATABASE_URL.",
        )
    finally:
        if database is not None:
            database.dispose()
    if revision != migrate.head():
        detail = f"{where} is at schema {revision}, this version needs {migrate.head()}"
        return Finding(
            name="database",
            state="warn",
            detail=detail,
            hint="`gradnoise db upgrade`; `gradnoise up` does it too.",
        )
    return Finding(name="database", state="ok", detail=f"{where}, schema {revision}")


def _service(settings: Settings, url: str, token: str | None) -> Iterator[Finding]:
    try:
        with Client(url, token) as client:
            readiness = client.readiness()
    except ClientError as error:
        yield Finding(
            name="service",
            state="warn",
            detail=str(error),
            hint="Start it with `gradnoise up`, or name it with --url.",
        )
        yield from _ports(settings)
        return
    missing = [check for check in readiness["checks"] if not check["ok"]]
    for check in missing:
        yield Finding(
            name=f"service: {check['name']}",
            state="fail",
            detail=check["detail"],
            hint=check["hint"],
        )
    if not missing:
        yield Finding(name="service", state="ok", detail=f"ready at {url}")
        if not readiness["dispatchers"]:
            hint = "`gradnoise up` starts one, and so does `python -m gradnoise_workers`."
            yield Finding(
                name="workers",
                state="fail",
                detail="no dispatcher is alive: studies stay queued",
                hint=hint,
            )
        for worker in readiness["dispatchers"]:
            yield Finding(
                name="workers",
                state="ok",
                detail=f"{worker['id']}: {worker['device']}, {worker['n_slots']} trials at once",
            )


def _ports(settings: Settings) -> Iterator[Finding]:
    for variable, port in (
        ("GRADNOISE_PORT", settings.port),
        ("GRADNOISE_DASHBOARD_PORT", settings.dashboard_port),
    ):
        try:
            ports.check(settings.host, port)
            yield Finding(name="port", state="ok", detail=f"{port} is free")
        except ports.PortTakenError as error:
            yield Finding(
                name="port",
                state="warn",
                detail=str(error),
                hint=f"End that process, or set {variable} to another port.",
            )


def _data() -> Iterator[Finding]:
    folder = os.environ.get("GRADNOISE_DATA", "")
    found = [name for name in DATA_SETS if folder and (Path(folder) / name).is_dir()]
    missing = [name for name in DATA_SETS if name not in found]
    yield Finding(name="data", state="ok", detail="digits, which come with scikit-learn")
    if found:
        yield Finding(name="data", state="ok", detail=f"{', '.join(found)} in {folder}")
    if missing:
        where = f"not in {folder}" if folder else "not looked for: GRADNOISE_DATA is not set"
        hint = (
            "They are downloaded when first needed; without a network, put them into a folder and "
            "name it in GRADNOISE_DATA."
        )
        yield Finding(name="data", state="warn", detail=f"{', '.join(missing)} {where}", hint=hint)
