"""Service: what the use cases share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from gradnoise_service.settings import Settings
from gradnoise_service.store.database import Database
from gradnoise_service.usecases.report_cache import ReportCache


@dataclass(frozen=True, kw_only=True)
class Service:
    """Settings, database and clock of a process.

    `admin_token` is the token of the first login, None if there is none.
    """

    settings: Settings
    database: Database
    clock: Callable[[], datetime]
    admin_token: str | None = field(repr=False)
    reports: ReportCache = field(default_factory=ReportCache)

    @property
    def requires_tokens(self) -> bool:
        """True unless the service has no admin token and serves only clients of its machine.

        Behind a proxy, a loopback address serves the proxy's clients.
        """
        is_local = self.settings.is_loopback and not self.settings.proxies
        return not is_local or self.admin_token is not None
