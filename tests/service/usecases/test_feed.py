"""Watchers of the same study share one query a beat."""

from typing import Any

import anyio
import pytest

from gradnoise_service.api import feed
from gradnoise_service.api.feed import ProgressFeed
from gradnoise_service.store.database import Database

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_within_a_beat_the_database_is_asked_once(
    database: Database, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, looks = workshop.queued(), []

    async def read_twice(beat_seconds: float) -> int:
        monkeypatch.setattr(feed, "BEAT_SECONDS", beat_seconds)
        looks.clear()
        progress = ProgressFeed(database, lambda: looks.append(1) or workshop.now)
        assert (await progress.read(study.id)) == (await progress.read(study.id))
        return len(looks)

    assert anyio.run(read_twice, 3600) == 1
    assert anyio.run(read_twice, 0) == 2


def test_the_memory_of_studies_is_bounded(
    database: Database, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MAX_REMEMBERED", 2)
    studies = [workshop.queued() for _ in range(3)]

    async def read_all() -> list[int]:
        progress = ProgressFeed(database, lambda: workshop.now)
        return [(await progress.read(study.id)).study_id for study in studies]

    assert anyio.run(read_all) == [study.id for study in studies]
