"""Progress of running studies for any number of streams, at the cost of one query a study and beat."""

import time
from collections.abc import Callable
from datetime import datetime

import anyio
from anyio.to_thread import run_sync

from gradnoise_service.domain.progress import Progress
from gradnoise_service.domain.study import STUDY_ENDED
from gradnoise_service.store import studies
from gradnoise_service.store.database import Database

BEAT_SECONDS = 0.5
N_READERS = 4
MAX_REMEMBERED = 1000


class ProgressFeed:
    """Reads a study's progress at most once a beat, however many streams ask, and in threads of its
    own beside those of the endpoints.

    `close` ends every stream, so that the process can stop without waiting for its watchers.
    """

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self._readers = anyio.CapacityLimiter(N_READERS)
        self._last: dict[int, tuple[float, Progress]] = {}
        self.is_closed = False

    async def read(self, study_id: int) -> Progress:
        """Return progress that is at most one beat old; an end is read anew, since a study that was
        just extended has none.
        """
        remembered = self._last.get(study_id)
        is_fresh = remembered is not None and time.monotonic() - remembered[0] < BEAT_SECONDS
        if remembered is not None and is_fresh and remembered[1].state not in STUDY_ENDED:
            return remembered[1]
        progress = await run_sync(self._query, study_id, limiter=self._readers)
        if len(self._last) >= MAX_REMEMBERED:
            self._last.clear()
        self._last[study_id] = (time.monotonic(), progress)
        return progress

    async def beat(self) -> None:
        await anyio.sleep(BEAT_SECONDS)

    def close(self) -> None:
        self.is_closed = True

    def _query(self, study_id: int) -> Progress:
        with self._database.session() as session:
            return studies.progress(session, study_id, self._clock())
