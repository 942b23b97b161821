"""Functions run in threads, in the context of the caller; results and errors come back."""

import asyncio
import contextvars
import threading
from functools import partial

import pytest

from gradnoise_service.api.threads import Threads

NAME = contextvars.ContextVar[str]("name")


def test_a_result_comes_from_another_thread() -> None:
    assert asyncio.run(Threads().run(threading.get_ident)) != threading.get_ident()


def test_an_error_comes_back() -> None:
    with pytest.raises(ZeroDivisionError):
        asyncio.run(Threads().run(lambda: 1 // 0))


def test_a_function_runs_in_the_context_of_the_caller() -> None:
    async def named() -> str:
        NAME.set("of the caller")
        return await Threads().run(NAME.get)

    assert asyncio.run(named()) == "of the caller"


def test_functions_run_at_once_up_to_the_number_of_threads() -> None:
    """Three meet at the barrier; the fourth waits for one of them."""
    threads, barrier, n_run = Threads(3), threading.Barrier(3, timeout=60), []

    def meet() -> None:
        barrier.wait()

    async def main() -> None:
        meeting = (threads.run(meet) for _ in range(3))
        await asyncio.gather(*meeting, threads.run(partial(n_run.append, 4)))
        await asyncio.gather(*(threads.run(meet) for _ in range(3)))

    asyncio.run(main())
    assert n_run == [4]


def test_a_thread_outlives_the_loop_that_waited_for_it() -> None:
    threads, is_closed, ended = Threads(1), threading.Event(), threading.Event()

    async def leave() -> None:
        waiting = asyncio.ensure_future(threads.run(partial(is_closed.wait, 60)))
        await asyncio.sleep(0)
        waiting.cancel()

    asyncio.run(leave())
    is_closed.set()
    asyncio.run(threads.run(ended.set))
    assert ended.is_set()
