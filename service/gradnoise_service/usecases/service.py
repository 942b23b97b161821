"""Service: what the use cases share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from gradnoise_service.settings import Settings
from gradnoise_service.store.database import Database


@dataclass(frozen=True, kw_only=True)
class Service:
    """Settings, database and clock of a process.

    `admin_token` is the token of the first login, None if there is none.
    """

    settings: Settings
    database: Database
    clock: Callable[[], datetime]
    admin_token: str | None = field(repr=False)

    @property
    def requires_tokens(self) -> bool:
        """True unless the service listens on a loopback address and has no admin token."""
        return not self.settings.is_loopback or self.admin_token is not None
