"""Streams of the same study share one query per interval."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from gradnoise_service.domain.progress import Progress
from gradnoise_service.settings import Settings
from gradnoise_service.store.database import Database
from gradnoise_service.usecases import feed
from gradnoise_service.usecases.feed import ProgressFeed
from gradnoise_service.usecases.service import Service

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def feed_of(database: Database, clock: Callable[[], datetime]) -> ProgressFeed:
    return ProgressFeed(
        Service(settings=Settings(), database=database, clock=clock, admin_token=None)
    )


@pytest.mark.parametrize(("interval_seconds", "n_queries"), [(3600, 1), (0, 2)])
def test_progress_is_queried_once_per_interval(
    database: Database,
    workshop: Any,
    monkeypatch: pytest.MonkeyPatch,
    interval_seconds: float,
    n_queries: int,
) -> None:
    monkeypatch.setattr(feed, "INTERVAL_SECONDS", interval_seconds)
    study, queries = workshop.queued(), []

    async def read_twice() -> None:
        progress = feed_of(database, lambda: queries.append(1) or workshop.now)
        assert (await progress.read(study.id)) == (await progress.read(study.id))

    anyio.run(read_twice)
    assert len(queries) == n_queries


def test_streams_that_read_at_once_share_a_query(
    database: Database, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that ends meanwhile leaves the query to the others."""
    monkeypatch.setattr(feed, "INTERVAL_SECONDS", 0)
    study, queries = workshop.queued(), []
    found: list[Progress] = []

    async def read_together() -> None:
        progress = feed_of(database, lambda: queries.append(1) or workshop.now)

        async def read() -> None:
            found.append(await progress.read(study.id))

        async with anyio.create_task_group() as streams, anyio.create_task_group() as ending:
            ending.start_soon(read)
            for _ in range(20):
                streams.start_soon(read)
            await anyio.lowlevel.checkpoint()
            ending.cancel_scope.cancel()

    anyio.run(read_together)
    assert (len(found), len(queries)) == (20, 1)
    assert all(each is found[0] for each in found)


def test_cache_is_bounded(
    database: Database, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the bound, progress is still read."""
    monkeypatch.setattr(feed, "MAX_CACHED", 2)
    studies = [workshop.queued() for _ in range(3)]

    async def read_all() -> list[int]:
        progress = feed_of(database, lambda: workshop.now)
        return [(await progress.read(study.id)).study_id for study in studies]

    assert anyio.run(read_all) == [study.id for study in studies]
