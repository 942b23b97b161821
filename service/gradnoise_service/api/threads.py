"""Threads for the endpoints, to which a request hops in one step of the event loop.

A hop by anyio takes three more steps, and twice the time.
"""

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

N_THREADS = 40


class Threads:
    """Up to `n_threads` threads, started when needed; they end with the process.

    They do not delay its end, as those of `concurrent.futures` do while a database does not answer.
    """

    def __init__(self, n_threads: int = N_THREADS) -> None:
        self._n_left = n_threads
        self._n_idle = 0
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()

    async def run(self, function: Callable[[], T]) -> T:
        """Return the result of a function that runs in a thread, in the context of the caller."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()

        def job() -> None:
            try:
                settle = partial(_settle, future, context.run(function), None)
            except BaseException as error:
                settle = partial(_settle, future, None, error)
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(settle)
            del settle  # an error holds this frame

        with self._lock:
            is_needed = self._n_idle <= 0 and self._n_left > 0
            self._n_idle -= not is_needed
            self._n_left -= is_needed
        if is_needed:
            threading.Thread(target=self._work, args=(job,), daemon=True).start()
        else:
            self._jobs.put(job)
        return await future

    def _work(self, job: Callable[[], None]) -> None:
        while True:
            job()
            del job  # holds the request and its response
            with self._lock:
                self._n_idle += 1
            job = self._jobs.get()


def _settle(future: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


THREADS = Threads()
"""Those of the process."""
