"""Progress as it happens, as server-sent events."""

import dataclasses
from collections.abc import AsyncIterable
from typing import Annotated

from fastapi import APIRouter, Depends, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent

from gradnoise_service.api.auth import Reader
from gradnoise_service.api.problem import documented
from gradnoise_service.api.service import CurrentService
from gradnoise_service.api.studies import StudyId
from gradnoise_service.domain.progress import Progress
from gradnoise_service.domain.study import STUDY_ENDED, Study
from gradnoise_service.store import studies

router = APIRouter(tags=["studies"])

MAX_SILENT_BEATS = 10

LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        description="The last event that was seen; the numbers go on from it.",
    ),
]


def _visible(caller: Reader, service: CurrentService, study_id: StudyId) -> Study:
    with service.database.session() as session:
        return studies.get(session, study_id, caller.sees)


@router.get(
    "/studies/{study_id}/events",
    summary="Follow a study's progress",
    response_class=EventSourceResponse,
    responses=documented(404, 422),
)
async def follow(
    study: Annotated[Study, Depends(_visible)],
    service: CurrentService,
    last_event_id: LastEventId = None,
) -> AsyncIterable[ServerSentEvent]:
    """Send an event `progress` with the whole progress as JSON, at once and whenever it changes,
    and `end` after the last.
    """
    number = (
        int(last_event_id)
        if last_event_id and last_event_id.isdecimal() and len(last_event_id) < 16
        else 0
    )
    sent, n_silent = None, 0
    while not service.feed.is_closed:
        progress = await service.feed.read(study.id)
        if _news(progress) != _news(sent) or (n_silent >= MAX_SILENT_BEATS and progress != sent):
            number, sent, n_silent = number + 1, progress, 0
            yield ServerSentEvent(data=progress, event="progress", id=str(number))
        if progress.state in STUDY_ENDED:
            yield ServerSentEvent(data={"state": progress.state}, event="end", id=str(number + 1))
            return
        n_silent += 1
        await service.feed.beat()


def _news(progress: Progress | None) -> Progress | None:
    """Return progress without the estimate of time left, which alone is news only now and then."""
    return None if progress is None else dataclasses.replace(progress, seconds_left=None)
