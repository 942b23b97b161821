"""What every endpoint stands on: settings, database, clock and limits of this process, and the
caller of this request.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from gradnoise_service.api.feed import ProgressFeed
from gradnoise_service.api.limits import Limiter
from gradnoise_service.settings import Settings
from gradnoise_service.store.database import Database


@dataclass(frozen=True, kw_only=True)
class Service:
    """The parts that one process of the API shares; `admin_token` is the token of the first login,
    None where none is needed.
    """

    settings: Settings
    database: Database
    clock: Callable[[], datetime]
    limiter: Limiter
    feed: ProgressFeed
    admin_token: str | None = field(repr=False)

    @property
    def needs_tokens(self) -> bool:
        """Whether callers must show a token: everywhere but on a loopback address without an admin
        token.
        """
        return not self.settings.is_loopback or self.admin_token is not None


def of_request(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


CurrentService = Annotated[Service, Depends(of_request)]
