"""ProgressFeed: progress for many event streams, at one query per study and interval."""

import asyncio
import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio
from anyio.to_thread import run_sync

from gradnoise_service.domain.access import Caller
from gradnoise_service.domain.errors import DatabaseUnavailableError
from gradnoise_service.domain.progress import Progress
from gradnoise_service.domain.study import STUDY_ENDED
from gradnoise_service.store import studies
from gradnoise_service.usecases.callers import identify
from gradnoise_service.usecases.service import Service

INTERVAL_SECONDS = 0.5
MAX_SILENT_INTERVALS = 10
"""Intervals after which a change of the time left or of the noise alone is passed on."""

WAKE_INTERVALS = 5
"""Intervals after which streams wake without a change, to identify their callers again."""

TOKEN_SECONDS = 2.5
N_THREADS = 4
MAX_CALLERS = 1000


@dataclass(eq=False)
class Watch:
    """What the streams of a study see of it.

    Args:
        version: Increases with each change.
        progress: The latest progress that is worth an event; None before the first query.
        error: Why the study is no longer followed.
    """

    version: int = 0
    progress: Progress | None = None
    error: Exception | None = None
    n_streams: int = 0
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    async def change(self, seen: int) -> None:
        """Wait for another version than the one seen, or for a few intervals."""
        if self.version == seen:
            await self._woken.wait()

    def wake(self) -> None:
        """Wake the streams."""
        self._woken.set()
        self._woken = asyncio.Event()


@dataclass(eq=False)
class _Identifying:
    """The look-up of a caller, which all streams with these credentials share."""

    task: asyncio.Task[Caller | None]
    since: float = field(default_factory=time.monotonic)

    @property
    def has_failed(self) -> bool:
        return self.task.done() and (self.task.cancelled() or self.task.exception() is not None)


class ProgressFeed:
    """Reads the progress of each study that streams follow once per interval, for all of them.

    Streams wake only at a change, and every few intervals. Queries run in threads of their own, so
    that streams do not use up the threads of the endpoints. `close` ends every stream, so that the
    process can stop.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._threads = anyio.CapacityLimiter(N_THREADS)
        self._watches: dict[int, Watch] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._callers: dict[tuple[str | None, str | None], _Identifying] = {}
        self.is_closed = False

    async def identify(self, token: str | None, login: str | None) -> Caller | None:
        """Return the caller with a token or a login, as of at most `TOKEN_SECONDS` ago."""
        key = token, login
        known = self._callers.get(key)
        if known is None or time.monotonic() - known.since >= TOKEN_SECONDS or known.has_failed:
            if len(self._callers) >= MAX_CALLERS:
                self._callers.clear()
            look_up = run_sync(identify, self._service, token, login, limiter=self._threads)
            known = self._callers[key] = _Identifying(asyncio.ensure_future(look_up))
        return await asyncio.shield(known.task)  # for the streams that wake at once

    @contextmanager
    def watch(self, study_id: int) -> Iterator[Watch]:
        """Follow a study in a block; call it from the event loop only."""
        watch = self._watches.get(study_id)
        if watch is None:
            watch = self._watches[study_id] = Watch()
            task = asyncio.ensure_future(self._follow(study_id, watch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        watch.n_streams += 1
        try:
            yield watch
        finally:
            watch.n_streams -= 1
            if not watch.n_streams:
                self._forget(study_id, watch)

    async def wait(self) -> None:
        """Wait for one interval."""
        await anyio.sleep(INTERVAL_SECONDS)

    def close(self) -> None:
        self.is_closed = True

    async def _follow(self, study_id: int, watch: Watch) -> None:
        """Read the study once per interval, until it ends, has no stream or cannot be read."""
        n_intervals, shown_at = 0, -MAX_SILENT_INTERVALS
        while watch.n_streams:
            progress = watch.progress
            try:
                progress = await run_sync(self._query, study_id, limiter=self._threads)
            except DatabaseUnavailableError:
                pass  # it may be back at the next interval
            except Exception as error:  # the streams raise it
                watch.error, watch.version = error, watch.version + 1
                break
            may_be_silent = n_intervals < shown_at + MAX_SILENT_INTERVALS
            if progress is not None and _is_new(progress, watch.progress, may_be_silent):
                watch.progress, watch.version, shown_at = progress, watch.version + 1, n_intervals
                if progress.state in STUDY_ENDED:
                    break
                watch.wake()
            elif self.is_closed or n_intervals % WAKE_INTERVALS == 0:
                watch.wake()
            n_intervals += 1
            await self.wait()
        self._forget(study_id, watch)  # an ended study may be extended: the next stream reads anew
        watch.wake()

    def _forget(self, study_id: int, watch: Watch) -> None:
        if self._watches.get(study_id) is watch:
            del self._watches[study_id]

    def _query(self, study_id: int) -> Progress:
        with self._service.database.transaction() as session:
            return studies.progress(session, study_id, self._service.clock())


def _is_new(progress: Progress, shown: Progress | None, may_be_silent: bool) -> bool:
    """Return whether progress is worth an event after what was shown last."""
    if shown is None or not may_be_silent:
        return progress != shown
    return _counted(progress) != _counted(shown)


def _counted(progress: Progress) -> Progress:
    """Return progress without what changes at every epoch."""
    return dataclasses.replace(progress, seconds_left=None, noise=())
