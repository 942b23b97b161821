"""Threads for the endpoints, to which a request hops in one step of the event loop.

A hop by anyio takes three more steps, and twice the time.
"""

import asyncio
import contextlib
import contextvars
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

N_THREADS = 40


class Threads:
    """Up to `n_threads` threads, started when needed; they end with the process.

    They do not delay its end, as those of `concurrent.futures` do while a database does not answer.
    Of those that are idle the last one to work goes on: its memory and connection are in caches.
    """

    def __init__(self, n_threads: int = N_THREADS) -> None:
        self._n_left = n_threads
        self._lock = threading.Lock()
        self._idle: list[SimpleQueue[_Job]] = []
        self._waiting: deque[_Job] = deque()

    async def run(self, function: Callable[[], T]) -> T:
        """Return the result of a function that runs in a thread, in the context of the caller."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        job = _Job(partial(contextvars.copy_context().run, function), loop, future)
        with self._lock:
            if self._idle:
                self._idle.pop().put(job)
            elif self._n_left:
                self._n_left -= 1
                threading.Thread(target=self._work, args=(job,), daemon=True).start()
            else:
                self._waiting.append(job)
        return await future

    def _work(self, job: "_Job") -> None:
        jobs: SimpleQueue[_Job] = SimpleQueue()
        while True:
            report = job.result()
            with self._lock:
                if self._waiting:
                    jobs.put(self._waiting.popleft())
                else:
                    self._idle.append(jobs)
            report()
            del job, report  # which hold the request and its response
            job = jobs.get()


@dataclass(frozen=True)
class _Job:
    function: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]

    def result(self) -> Callable[[], None]:
        """Run the function; return what reports its result to the event loop."""
        try:
            return partial(self._report, self.future.set_result, self.function())
        except BaseException as error:
            return partial(self._report, self.future.set_exception, error)

    def _report(self, settle: Callable[[Any], None], outcome: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._settle, settle, outcome)

    def _settle(self, settle: Callable[[Any], None], outcome: Any) -> None:
        if not self.future.cancelled():
            settle(outcome)


THREADS = Threads()
"""Those of the process."""
