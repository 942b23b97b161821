"""Check the installation on this machine and suggest fixes."""

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from gradnoise_service.client import Client, ClientError
from gradnoise_service.local import ports
from gradnoise_service.local.errors import PortTakenError
from gradnoise_service.local.finding import Finding
from gradnoise_service.local.gpus import examine_gpus
from gradnoise_service.report.words.broken import REPAIR, place
from gradnoise_service.settings import Settings

PACKAGES = ("torch", "optuna", "ray", "optuna-dashboard", "fastapi", "sqlalchemy")
DATA_SETS = ("mnist", "fashion-mnist")
MIN_DISK_BYTES = 1_000_000_000
LOW_DISK_BYTES = 5_000_000_000


def examine(settings: Settings, url: str, token: str | None = None) -> Iterator[Finding]:
    """Check Python, packages, GPUs, home folder, database, service or ports, and data sets."""
    yield Finding(name="Python", state="ok", detail=f"{platform.python_version()} in {sys.prefix}")
    yield from map(_package, PACKAGES)
    yield from examine_gpus()
    yield _home_folder(settings.home.resolve())
    yield _database(settings)
    yield from _service(settings, url, token)
    yield from _data_sets()


def _package(name: str) -> Finding:
    try:
        return Finding(name=name, state="ok", detail=importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        hint = "pip install 'gradnoise[service]'"
        return Finding(name=name, state="fail", detail="not installed", hint=hint)


def _home_folder(home: Path) -> Finding:
    name = "home folder"
    folder = next(path for path in (home, *home.parents) if path.exists())
    if not os.access(folder, os.W_OK):
        hint = "Set GRADNOISE_HOME to a writable folder."
        return Finding(name=name, state="fail", detail=f"{folder} is not writable", hint=hint)
    n_bytes = shutil.disk_usage(folder).free
    detail = f"{home}, {n_bytes / 1e9:.1f} GB free"
    if n_bytes >= LOW_DISK_BYTES:
        return Finding(name=name, state="ok", detail=detail)
    hint = "Free disk space, or set GRADNOISE_HOME to a folder on a larger disk."
    state: Literal["warn", "fail"] = "warn" if n_bytes >= MIN_DISK_BYTES else "fail"
    return Finding(name=name, state=state, detail=detail, hint=hint)


def _database(settings: Settings) -> Finding:
    from gradnoise_service.store import migrate
    from gradnoise_service.store.database import open_database

    name, url = "database", settings.database
    if url.startswith("sqlite") and not Path(url.removeprefix("sqlite:///")).exists():
        return Finding(name=name, state="ok", detail="SQLite; `gradnoise up` creates the file")
    database = None
    try:
        database = open_database(url)
        database.ping()
        revision, shown_url = database.revision(), database.url.render_as_string()
        is_current = migrate.is_current(database)
    except migrate.UnknownSchemaError as error:
        hint = "Install the version that upgraded it, or set another GRADNOISE_DATABASE_URL."
        return Finding(name=name, state="fail", detail=str(error), hint=hint)
    except Exception as error:  # whatever the driver raises
        lines = str(error).splitlines() or [type(error).__name__]
        hint = "Start the database, and check GRADNOISE_DATABASE_URL."
        return Finding(name=name, state="fail", detail=lines[0], hint=hint)
    finally:
        if database is not None:
            database.dispose()
    if not is_current:
        detail = f"{shown_url} has schema {revision}, but this version needs {migrate.head()}"
        hint = "Run `gradnoise db upgrade` or `gradnoise up`."
        return Finding(name=name, state="warn", detail=detail, hint=hint)
    return Finding(name=name, state="ok", detail=f"{shown_url}, schema {revision}")


def _service(settings: Settings, url: str, token: str | None) -> Iterator[Finding]:
    try:
        with Client(url, token) as client:
            readiness = client.readiness()
    except ClientError as error:
        hint = "Start the service with `gradnoise up`, or set its address with --url."
        yield Finding(name="service", state="warn", detail=str(error), hint=hint)
        yield _port("GRADNOISE_PORT", settings.host, settings.port)
        yield _port("GRADNOISE_DASHBOARD_PORT", settings.host, settings.dashboard_port)
        return
    failed = [check for check in readiness["checks"] if not check["ok"]]
    for check in failed:
        name = f"service: {check['name']}"
        yield Finding(name=name, state="fail", detail=check["detail"], hint=check["hint"])
    if failed:
        return
    yield Finding(name="service", state="ok", detail=f"ready at {url}")
    yield from _broken_packages(url, token)
    if not readiness["dispatchers"]:
        detail = "no dispatcher is running, so studies stay queued"
        hint = "Start a dispatcher with `gradnoise up` or `python -m gradnoise_workers`."
        yield Finding(name="workers", state="fail", detail=detail, hint=hint)
    for dispatcher in readiness["dispatchers"]:
        detail = f"{dispatcher['id']}: {dispatcher['device']}, {dispatcher['n_slots']} slots"
        yield Finding(name="workers", state="ok", detail=detail)
        for fault in dispatcher["faults"]:
            hint = "Run `gradnoise doctor` on this node, and restart Ray there once it is mended."
            yield Finding(name="workers", state="warn", detail=fault, hint=hint)


def _broken_packages(url: str, token: str | None) -> Iterator[Finding]:
    try:
        with Client(url, token) as client:
            broken = client.broken()
    except ClientError as error:
        hint = "Give a token with --token or GRADNOISE_TOKEN."
        yield Finding(name="packages", state="warn", detail=str(error), hint=hint)
        return
    for each in broken:
        detail = f"{place(each)}: {each.error}"
        yield Finding(name="packages", state="warn", detail=detail, hint=REPAIR)


def _port(variable: str, host: str, port: int) -> Finding:
    try:
        ports.check(host, port)
    except PortTakenError as error:
        hint = f"Stop that process, or set {variable} to another port."
        return Finding(name="port", state="warn", detail=str(error), hint=hint)
    return Finding(name="port", state="ok", detail=f"{port} is free")


def _data_sets() -> Iterator[Finding]:
    yield Finding(name="data", state="ok", detail="digits, included in scikit-learn")
    folder = os.environ.get("GRADNOISE_DATA", "")
    found = [name for name in DATA_SETS if folder and (Path(folder) / name).is_dir()]
    missing = [name for name in DATA_SETS if name not in found]
    if found:
        yield Finding(name="data", state="ok", detail=f"{', '.join(found)} in {folder}")
    if missing:
        where = f"not in {folder}" if folder else "unknown: GRADNOISE_DATA is not set"
        hint = (
            "They are downloaded on first use. Without a network, put them into a folder and set "
            "GRADNOISE_DATA to it."
        )
        yield Finding(name="data", state="warn", detail=f"{', '.join(missing)} {where}", hint=hint)
