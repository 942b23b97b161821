"""Sources are stored by owner, hash and folder, and read by the studies that name them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from gradnoise_service.domain.errors import InvalidSpecError
from gradnoise_service.domain.source import Source
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric
from gradnoise_service.store import sources, studies
from gradnoise_service.store.database import Database

SOURCE = Source(
    name="train.py",
    files={"train.py": "import part\n", "part.py": ""},
    folder="/home/ann/project",
    announced={"workloads": [], "techniques": [], "optimizers": []},
)


def keep(database: Database, source: Source, now: datetime, owner: str = "ann") -> None:
    with database.session(write=True) as session:
        sources.keep(session, source, owner=owner, now=now)


def test_a_study_keeps_the_source_with_which_it_was_submitted(
    database: Database, make_spec: Callable[..., StudySpec], accuracy: Metric, now: datetime
) -> None:
    """The same code in another folder is another source; the last that was stored is found."""
    moved = replace(SOURCE, folder="/home/ann/copy")
    keep(database, moved, now)
    keep(database, SOURCE, now + timedelta(seconds=1))
    spec = make_spec(source=SOURCE.hash)
    with database.session(write=True) as session:
        stored = sources.find(session, SOURCE.hash, "ann")
        study = studies.submit(session, spec, accuracy, owner="ann", now=now, source=stored)
    keep(database, moved, now + timedelta(seconds=2))
    with database.session() as session:
        assert sources.of_study(session, study.id) == SOURCE
        assert sources.find(session, SOURCE.hash, "ann").source == moved
    assert study.source_name == "train.py"


def test_a_source_that_is_stored_again_announces_what_it_declares_now(
    database: Database, now: datetime
) -> None:
    keep(database, SOURCE, now)
    updated = replace(SOURCE, announced={**SOURCE.announced, "broken": []})
    keep(database, updated, now)
    with database.session() as session:
        assert sources.find(session, SOURCE.hash, "ann").source == updated


def test_an_owner_finds_only_their_own_sources(database: Database, now: datetime) -> None:
    keep(database, SOURCE, now)
    with database.session() as session, pytest.raises(InvalidSpecError) as caught:
        sources.find(session, SOURCE.hash, "bob")
    [fault] = caught.value.errors
    assert (fault.field, fault.value) == ("source", SOURCE.hash)


def test_a_study_of_an_installed_workload_has_no_source(
    database: Database, make_spec: Callable[..., StudySpec], accuracy: Metric, now: datetime
) -> None:
    with database.session(write=True) as session:
        study = studies.submit(session, make_spec(), accuracy, owner="ann", now=now)
        assert sources.of_study(session, study.id) is None
    assert study.source_name is None
