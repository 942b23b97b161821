"""A backup holds a database as it was at one moment, and is restored into either database."""

import gzip
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import pytest
from pydantic import SecretStr

from gradnoise_service import search
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Measurement, Metric
from gradnoise_service.local.database import restore
from gradnoise_service.local.errors import DatabaseError
from gradnoise_service.settings import Settings
from gradnoise_service.store import (
    attempts,
    backup,
    deletion,
    logs,
    measurements,
    migrate,
    studies,
    trials,
)
from gradnoise_service.store.database import Database, open_database
from postgres_server import PostgresServer

METRIC = Metric(name="accuracy", direction="maximize", worst=0.0)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """The settings of an empty database, on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        yield Settings(database_url=SecretStr(f"sqlite:///{tmp_path / 'restored.db'}"))
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.create()
    yield Settings(database_url=SecretStr(server.url(name)))
    server.drop(name)


def test_a_backup_that_was_written_under_load_is_restored(
    database: Database,
    target: Settings,
    make_spec: Callable[..., StudySpec],
    now: datetime,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is written meanwhile is no part of it; ids of deleted studies are not used again."""
    storage = search.open_storage(database.url.render_as_string(hide_password=False))
    with database.session(write=True) as session:
        study = studies.submit(session, make_spec(), METRIC, owner="ada", now=now)
        trials.declare(session, study.id, study.design.trials("search"))
        trial = attempts.waiting(session, study.id, "search")[0].trial
        token = attempts.start(session, trial.id, {"lr": 0.1, "betas": [0.9, None]}, 0, now)
        logs.record(session, study.id, [logs.NewText(token=token, position=0, text="ü\n")], 99)
        measured = Measurement(trial_id=trial.id, epoch=1, values={"x": 0.1 + 0.2}, seconds=1e-9)
        measurements.record(session, [measured])
        gone = studies.submit(session, make_spec(name="gone"), METRIC, owner="ada", now=now)
        deletion.mark(session, gone.id, None, now)
        deletion.remove(session, gone.id)
    search_of_arm = optuna.create_study(storage=storage, study_name="a study (1) · noisy")
    search_of_arm.add_trial(optuna.trial.create_trial(value=float("inf")))
    known = trials.of_study
    print_line = backup._print

    def print_and_write(lines: Any, value: Any) -> None:
        print_line(lines, value)
        if isinstance(value, dict) and "table" in value:
            with database.session(write=True) as session:
                spec = make_spec(name=f"during {value['table']}")
                studies.submit(session, spec, METRIC, owner="ada", now=now)

    file = tmp_path / "backup.gz"
    monkeypatch.setattr(backup, "_print", print_and_write)
    n_rows = backup.write(database, file, now)
    monkeypatch.undo()
    assert restore(target, file) == n_rows
    restored = open_database(target.database)
    assert restored.revision() == migrate.head()
    with database.session() as before, restored.session(write=True) as after:
        assert studies.page(after, owner=None, before=None, limit=9) == [study]
        assert known(after, study.id) == known(before, study.id)
        assert attempts.of_trial(after, trial.id) == attempts.of_trial(before, trial.id)
        assert measurements.of_trial(after, trial.id) == [measured]
        spec = make_spec(name="after")
        assert studies.submit(after, spec, METRIC, owner="ada", now=now).id > gone.id
    copied = search.open_storage(target.database)
    [copy] = optuna.load_study(study_name=search_of_arm.study_name, storage=copied).trials
    assert (copy.value, copy.datetime_start) == (
        float("inf"),
        search_of_arm.trials[0].datetime_start,
    )
    optuna.create_study(storage=copied, study_name="another").ask()
    with pytest.raises(DatabaseError, match="is not empty: restore into a new one"):
        restore(target, file)
    for each in (storage, copied):
        each.remove_session()
        each.engine.dispose()
    restored.dispose()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[: len(content) // 2], "is not a whole backup"),
        (lambda content: gzip.compress(gzip.decompress(content)[:-40]), "is not a whole backup"),
        (lambda _: b"not compressed", "is not a backup that"),
        (lambda _: gzip.compress(b'{"format": "other"}'), "is not a backup that"),
        (
            lambda content: gzip.compress(
                gzip.decompress(content).replace(migrate.head().encode(), b"9999", 1)
            ),
            "has schema 9999, which this version of gradnoise does not know",
        ),
    ],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_is_no_whole_backup_is_refused_and_changes_nothing(
    database: Database,
    now: datetime,
    tmp_path: Path,
    damage: Callable[[bytes], bytes],
    message: str,
) -> None:
    file = tmp_path / "backup.gz"
    backup.write(database, file, now)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    target = Settings(database_url=SecretStr(f"sqlite:///{tmp_path / 'restored.db'}"))
    with pytest.raises(DatabaseError, match=message):
        restore(target, file)
    file.write_bytes(whole)
    assert restore(target, file) >= 0
