"""Optuna's SQL storage, in the same database as our tables."""

import contextlib
import sqlite3
from collections.abc import Iterable
from typing import Any

import optuna
from optuna.storages import RDBStorage

Storage = RDBStorage

COPY = " (copy)"
"""Ends the name of the copy of an Optuna study while its record is made anew."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


class TunedConnection(sqlite3.Connection):
    """A SQLite connection in WAL mode that waits for other writers."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.execute("PRAGMA journal_mode=WAL")
        self.execute("PRAGMA synchronous=NORMAL")


def open_storage(url: str) -> Storage:
    """Open the storage of a database that was prepared by `prepare`, which has its schema."""
    return _open(url, is_prepared=True)


def delete(storage: Storage, names: Iterable[str]) -> None:
    """Delete the Optuna studies of these names, and their copies, as far as they exist."""
    for name in names:
        for each in (name, name + COPY):
            with contextlib.suppress(KeyError):
                optuna.delete_study(study_name=each, storage=storage)


def prepare(url: str) -> None:
    """Create Optuna's tables where they are missing.

    Call it under the schema lock, because Optuna's creation is not safe in parallel.
    """
    storage = _open(url, is_prepared=False)
    storage.upgrade()
    storage.remove_session()
    storage.engine.dispose()


def _open(url: str, *, is_prepared: bool) -> Storage:
    engine: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("sqlite"):
        engine["connect_args"] = {"timeout": 30, "factory": TunedConnection}
    return RDBStorage(
        url,
        engine_kwargs=engine,
        skip_compatibility_check=is_prepared,
        skip_table_creation=is_prepared,
    )
