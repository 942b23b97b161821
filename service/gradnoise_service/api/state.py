"""What the endpoints of a process share, as FastAPI dependencies.

They are coroutines, because FastAPI runs any other dependency in a thread of its pool.
"""

from typing import Annotated

from fastapi import Depends, FastAPI, Request

from gradnoise_service.api.limits import Limiter, Streams, max_connections
from gradnoise_service.usecases.feed import ProgressFeed
from gradnoise_service.usecases.service import Service


def attach(app: FastAPI, service: Service, feed: ProgressFeed) -> None:
    """Store the service, its feed and a rate limiter in the state of an app."""
    app.state.service = service
    app.state.feed = feed
    app.state.limiter = Limiter(service.settings.requests_per_minute)
    app.state.streams = Streams(service.settings.event_streams, max_connections() // 2)


async def current_service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def current_limiter(request: Request) -> Limiter:
    limiter: Limiter = request.app.state.limiter
    return limiter


async def _streams(request: Request) -> Streams:
    streams: Streams = request.app.state.streams
    return streams


async def _feed(request: Request) -> ProgressFeed:
    feed: ProgressFeed = request.app.state.feed
    return feed


CurrentService = Annotated[Service, Depends(current_service)]
CurrentLimiter = Annotated[Limiter, Depends(current_limiter)]
CurrentStreams = Annotated[Streams, Depends(_streams)]
CurrentFeed = Annotated[ProgressFeed, Depends(_feed)]
