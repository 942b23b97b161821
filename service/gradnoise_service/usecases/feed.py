"""ProgressFeed: progress for many event streams, at one query per study and interval."""

import asyncio
import time

import anyio
from anyio.to_thread import run_sync

from gradnoise_service.domain.access import Caller
from gradnoise_service.domain.progress import Progress
from gradnoise_service.domain.study import STUDY_ENDED
from gradnoise_service.store import studies
from gradnoise_service.usecases.callers import identify
from gradnoise_service.usecases.service import Service

INTERVAL_SECONDS = 0.5
TOKEN_SECONDS = 5
N_THREADS = 4
MAX_CACHED = 1000


class ProgressFeed:
    """Reads the progress of a study at most once per interval, whatever the number of streams.

    It queries in separate threads, so that streams do not use up the threads of the endpoints.
    `close` ends every stream, so that the process can stop.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._threads = anyio.CapacityLimiter(N_THREADS)
        self._cache: dict[int, tuple[float, Progress]] = {}
        self._reading: dict[int, asyncio.Task[Progress]] = {}
        self._callers: dict[tuple[str | None, str | None], tuple[float, Caller | None]] = {}
        self.is_closed = False

    async def identify(self, token: str | None, login: str | None) -> Caller | None:
        """Return the caller with a token or a login, as of at most `TOKEN_SECONDS` ago."""
        known = self._callers.get((token, login))
        if known is not None and time.monotonic() - known[0] < TOKEN_SECONDS:
            return known[1]
        caller = await run_sync(identify, self._service, token, login, limiter=self._threads)
        if len(self._callers) >= MAX_CACHED:
            self._callers.clear()
        self._callers[token, login] = (time.monotonic(), caller)
        return caller

    async def read(self, study_id: int) -> Progress:
        """Return progress that is at most one interval old.

        The progress of an ended study is not cached, because the study may be extended.
        """
        cached = self._cache.get(study_id)
        if cached is not None:
            read_at, progress = cached
            is_fresh = time.monotonic() - read_at < INTERVAL_SECONDS
            if is_fresh and progress.state not in STUDY_ENDED:
                return progress
        reading = self._reading.get(study_id)
        if reading is None:
            reading = self._reading[study_id] = asyncio.ensure_future(self._read(study_id))
            reading.add_done_callback(lambda ended: self._forget(study_id, ended))
        return await asyncio.shield(reading)  # a stream that ends does not end it for the others

    async def _read(self, study_id: int) -> Progress:
        progress = await run_sync(self._query, study_id, limiter=self._threads)
        if len(self._cache) >= MAX_CACHED:
            self._cache.clear()
        self._cache[study_id] = (time.monotonic(), progress)
        return progress

    def _forget(self, study_id: int, ended: asyncio.Task[Progress]) -> None:
        del self._reading[study_id]
        if not ended.cancelled():
            ended.exception()  # else asyncio logs it where no stream is left

    async def wait(self) -> None:
        """Wait for one interval."""
        await anyio.sleep(INTERVAL_SECONDS)

    def close(self) -> None:
        self.is_closed = True

    def _query(self, study_id: int) -> Progress:
        with self._service.database.transaction() as session:
            return studies.progress(session, study_id, self._service.clock())
