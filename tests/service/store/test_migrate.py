"""Migrations create the declared tables once, beside Optuna's, before or after them."""

import threading
from collections.abc import Callable
from datetime import datetime

import optuna
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, update

from gradnoise_service import search
from gradnoise_service.domain.errors import NameTakenError
from gradnoise_service.domain.search_key import SearchKey
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric
from gradnoise_service.prepare_database import prepare_database
from gradnoise_service.store import migrate, studies, trials
from gradnoise_service.store.database import Database
from gradnoise_service.store.tables import PREFIX, Base, StudyRow

METRIC = Metric(name="accuracy", direction="maximize", worst=0.0)


def tables(database: Database) -> set[str]:
    return set(inspect(database.engine).get_table_names())


def test_the_migrated_schema_is_the_declared_one(database: Database) -> None:
    def is_declared(
        _object: object, name: str | None, kind: str, _reflected: bool, _compared: object
    ) -> bool:
        return kind != "table" or (name or "").startswith(PREFIX)

    with database.engine.connect() as connection:
        options = {
            "include_object": is_declared,
            "version_table": PREFIX + "alembic_version",
            "compare_type": True,
        }
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []
    assert database.revision() == migrate.head()


def test_downgrade_and_upgrade_restore_the_tables(database: Database) -> None:
    downgrade(database, "base")
    assert {name for name in tables(database) if name.startswith(PREFIX)} == {
        PREFIX + "alembic_version"
    }
    assert "trials" in tables(database)  # Optuna's tables stay
    migrate.upgrade(database)
    assert {table.name for table in Base.metadata.sorted_tables} <= tables(database)


def test_studies_stored_before_reruns_existed_have_none(
    database: Database, make_spec: Callable[..., StudySpec], now: datetime
) -> None:
    """Reruns are the default of a spec that is read today."""
    spec = make_spec(search={"n_trials": 4, "epochs": 3})
    with database.session(write=True) as session:
        study = studies.submit(
            session,
            spec,
            METRIC,
            owner="ada",
            now=now,
        )
    assert study.spec.search.rerun.is_on
    downgrade(database, "0002")
    migrate.upgrade(database)
    with database.session() as session:
        assert not studies.get(session, study.id, "ada").spec.search.rerun.is_on


def test_studies_keep_their_trials_when_their_names_are_of_their_owners(
    database: Database, make_spec: Callable[..., StudySpec], now: datetime
) -> None:
    """A name that is a whole number is replaced, in Optuna too."""
    with database.session(write=True) as session:
        study = studies.submit(session, make_spec(), METRIC, owner="ada", now=now)
        trials.declare(session, study.id, study.design.trials("search"))
    downgrade(database, "0010")
    storage = search.open_storage(database.url.render_as_string(hide_password=False))
    optuna.create_study(storage=storage, study_name="1 · noisy search 2")
    with database.engine.begin() as connection:
        connection.execute(
            update(StudyRow.__table__).values(name="1", spec=make_spec(name="1").model_dump())
        )
    migrate.upgrade(database)
    with database.session(write=True) as session:
        renamed = studies.get(session, study.id, "ada")
        assert renamed.spec.name == "study 1-0"
        assert len(trials.of_study(session, study.id)) == 8
        key = SearchKey(phase="search", arm="noisy", repeat=1)
        assert [found.study_name for found in storage.get_all_studies()] == [
            renamed.search_name(key)
        ]
        studies.submit(session, make_spec(name="study 1-0"), METRIC, owner="bob", now=now)
        with pytest.raises(NameTakenError):
            studies.submit(session, make_spec(name="study 1-0"), METRIC, owner="ada", now=now)
    storage.remove_session()
    storage.engine.dispose()


def downgrade(database: Database, revision: str) -> None:
    with migrate.migrating(database) as config:
        command.downgrade(config, revision)


def test_a_database_can_be_prepared_concurrently(empty_database_url: str) -> None:
    errors: list[BaseException] = []

    def prepare() -> None:
        try:
            prepare_database(empty_database_url)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=prepare) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    database = Database(empty_database_url)
    assert database.revision() == migrate.head()
    assert {"trials", PREFIX + "trial"} <= tables(database)
    database.dispose()


@pytest.mark.parametrize("first", ["service", "optuna"])
def test_either_schema_may_be_created_first(empty_database_url: str, first: str) -> None:
    database = Database(empty_database_url)
    if first == "service":
        migrate.upgrade(database)
    else:
        search.prepare(empty_database_url)
    prepare_database(empty_database_url)
    assert {"trials", PREFIX + "trial"} <= tables(database)
    storage = search.open_storage(empty_database_url)
    assert optuna.create_study(storage=storage, study_name="from outside").trials == []
    storage.remove_session()
    storage.engine.dispose()
    database.dispose()
