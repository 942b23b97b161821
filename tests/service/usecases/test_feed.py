"""Streams of the same study share its queries and wake at its changes."""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from typing import Any

import pytest

from gradnoise_service.domain.errors import DatabaseUnavailableError, NotFoundError
from gradnoise_service.domain.progress import Progress
from gradnoise_service.settings import Settings
from gradnoise_service.store.database import Database
from gradnoise_service.usecases import feed
from gradnoise_service.usecases.feed import ProgressFeed, Watch
from gradnoise_service.usecases.service import Service

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def feed_of(database: Database, clock: Callable[[], datetime]) -> ProgressFeed:
    return ProgressFeed(
        Service(settings=Settings(), database=database, clock=clock, admin_token=None)
    )


async def awaited(watch: Watch, seen: int = 0) -> Progress | None:
    """Return the progress of a version after the one seen."""
    while watch.version == seen:
        await watch.change(seen)
    return watch.progress


def test_streams_of_a_study_share_a_query(database: Database, workshop: Any) -> None:
    """A stream that ends leaves the query to the others; the last one ends it."""
    study, queries = workshop.queued(), []

    async def read_together() -> None:
        progress = feed_of(database, lambda: queries.append(1) or workshop.now)
        with ExitStack() as streams:
            watches = [streams.enter_context(progress.watch(study.id)) for _ in range(20)]
            with progress.watch(study.id) as ending:
                watches.append(ending)
            found = await asyncio.gather(*map(awaited, watches))
        assert all(each is found[0] is not None for each in found)
        assert not progress._watches

    asyncio.run(read_together())
    assert len(queries) == 1


def test_change_wakes_streams_and_an_ended_study_is_read_anew(
    database: Database, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "INTERVAL_SECONDS", 0)
    study = workshop.running()

    async def states() -> list[str]:
        progress = feed_of(database, lambda: workshop.now)
        with progress.watch(study.id) as watch:
            first = await awaited(watch)
            await asyncio.to_thread(workshop.cancel, study)
            second = await awaited(watch, seen=1)
            with progress.watch(study.id) as another:
                assert another is not watch
                third = await awaited(another)
        return [each.state for each in (first, second, third) if each is not None]

    assert asyncio.run(states()) == ["running", "cancelled", "cancelled"]


def test_streams_wake_without_a_change(
    database: Database, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their callers are identified again."""
    monkeypatch.setattr(feed, "INTERVAL_SECONDS", 0)
    study = workshop.queued()

    async def wake() -> None:
        with feed_of(database, lambda: workshop.now).watch(study.id) as watch:
            await awaited(watch)
            await watch.change(1)
            assert watch.version == 1

    asyncio.run(wake())


def test_error_ends_the_watch(database: Database, workshop: Any) -> None:
    async def read_deleted() -> Exception | None:
        with feed_of(database, lambda: workshop.now).watch(10**6) as watch:
            assert await awaited(watch) is None
            return watch.error

    assert isinstance(asyncio.run(read_deleted()), NotFoundError)


def test_database_that_is_away_is_asked_again(
    database: Database, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "INTERVAL_SECONDS", 0)
    study, answers = workshop.queued(), [DatabaseUnavailableError("away"), None]

    def clock() -> datetime:
        if answers and (error := answers.pop(0)):
            raise error
        return workshop.now  # type: ignore[no-any-return]

    async def read() -> Progress | None:
        with feed_of(database, clock).watch(study.id) as watch:
            return await awaited(watch)

    found = asyncio.run(read())
    assert found is not None
    assert found.study_id == study.id


def test_streams_that_wake_at_once_share_the_look_up_of_their_caller(
    database: Database, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that fails is repeated."""
    answers = [DatabaseUnavailableError("away"), None, None]

    def look_up(*_: object) -> None:
        if error := answers.pop():
            raise error

    monkeypatch.setattr(feed, "identify", look_up)

    async def identify_all() -> None:
        progress = feed_of(database, lambda: workshop.now)
        await asyncio.gather(*(progress.identify("token", None) for _ in range(20)))
        await progress.identify("another", None)
        assert len(answers) == 1
        with pytest.raises(DatabaseUnavailableError):
            await progress.identify("a third", None)
        answers.append(None)
        await progress.identify("a third", None)

    asyncio.run(identify_all())
