"""Progress of a study as server-sent events."""

import dataclasses
from collections.abc import AsyncIterable, AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from gradnoise_service.api.auth import Reader, credentials_of
from gradnoise_service.api.parameters import StudyId
from gradnoise_service.api.problem import documented
from gradnoise_service.api.state import CurrentFeed, CurrentService, CurrentStreams
from gradnoise_service.domain.errors import DatabaseUnavailableError, NotFoundError
from gradnoise_service.domain.progress import Progress
from gradnoise_service.domain.study import STUDY_ENDED, Study
from gradnoise_service.usecases import studies

router = APIRouter(prefix="/v1", tags=["studies"])

MAX_SILENT_INTERVALS = 10
"""Intervals after which a change of the time left or of the noise alone is sent."""

LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        description="Id of the last event that was received; numbering continues from it.",
    ),
]


def _visible(caller: Reader, service: CurrentService, study_id: StudyId) -> Study:
    """Return the study before the stream starts, so that an unknown study is a 404."""
    return studies.show(service, caller, study_id)


async def _stream_slot(caller: Reader, streams: CurrentStreams) -> AsyncIterator[None]:
    with streams.open(caller.owner):
        yield


@router.get(
    "/studies/{study_id}/events",
    summary="Follow a study's progress",
    response_class=EventSourceResponse,
    responses=documented(404, 422),
)
async def follow(
    study: Annotated[Study, Depends(_visible)],
    _opened: Annotated[None, Depends(_stream_slot)],
    feed: CurrentFeed,
    request: Request,
    last_event_id: LastEventId = None,
) -> AsyncIterable[ServerSentEvent]:
    """Send an event `progress` at once and at each change, and `end` when the study has ended.

    The data of `progress` are the whole progress as JSON. The stream ends without `end` if the
    token is revoked or expires, if the study is deleted, and when the service stops.
    """
    number, sent, n_silent = _event_number(last_event_id), None, 0
    credentials = credentials_of(request)
    while not feed.is_closed:
        try:
            if await feed.identify(*credentials) is None:
                return
            progress = await feed.read(study.id)
        except NotFoundError:
            return
        except DatabaseUnavailableError:
            await feed.wait()
            continue
        is_new = progress is not sent and progress != sent
        if is_new and (n_silent >= MAX_SILENT_INTERVALS or _counted(progress) != _counted(sent)):
            number, sent, n_silent = number + 1, progress, 0
            yield ServerSentEvent(data=progress, event="progress", id=str(number))
        if progress.state in STUDY_ENDED:
            yield ServerSentEvent(data={"state": progress.state}, event="end", id=str(number + 1))
            return
        n_silent += 1
        await feed.wait()


def _event_number(last_event_id: str | None) -> int:
    is_number = last_event_id and last_event_id.isdecimal() and len(last_event_id) < 16
    return int(last_event_id) if last_event_id and is_number else 0


def _counted(progress: Progress | None) -> Progress | None:
    """Return progress without what changes at every epoch."""
    return None if progress is None else dataclasses.replace(progress, seconds_left=None, noise=())
