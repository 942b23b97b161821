"""Progress of a study as server-sent events."""

import functools
from collections.abc import AsyncIterable, AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent

from gradnoise_service.api.auth import Reader, credentials_of
from gradnoise_service.api.parameters import StudyId
from gradnoise_service.api.problem import documented
from gradnoise_service.api.shown import PROGRESS
from gradnoise_service.api.state import CurrentFeed, CurrentService, CurrentStreams
from gradnoise_service.domain.errors import DatabaseUnavailableError, NotFoundError
from gradnoise_service.domain.progress import Progress
from gradnoise_service.domain.study import STUDY_ENDED, Study
from gradnoise_service.usecases import studies

router = APIRouter(prefix="/v1", tags=["studies"])

N_CACHED = 256

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
    number, seen = _event_number(last_event_id), 0
    credentials = credentials_of(request)
    with feed.watch(study.id) as watch:
        while not feed.is_closed and not isinstance(watch.error, NotFoundError):
            if watch.error is not None:
                raise watch.error
            try:
                if await feed.identify(*credentials) is None:
                    return
            except DatabaseUnavailableError:
                await feed.wait()
                continue
            if watch.progress is not None and watch.version != seen:
                number, seen, progress = number + 1, watch.version, watch.progress
                yield ServerSentEvent(raw_data=_text(progress), event="progress", id=str(number))
                if progress.state in STUDY_ENDED:
                    end = {"state": progress.state}
                    yield ServerSentEvent(data=end, event="end", id=str(number + 1))
                    return
            await watch.change(seen)


def _event_number(last_event_id: str | None) -> int:
    is_number = last_event_id and last_event_id.isdecimal() and len(last_event_id) < 16
    return int(last_event_id) if last_event_id and is_number else 0


@functools.lru_cache(N_CACHED)
def _text(progress: Progress) -> str:
    """Return progress in JSON, written once for all streams."""
    return PROGRESS.dump_json(progress).decode()
