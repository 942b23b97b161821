"""Functions run in threads, in the context of the caller; results and errors come back."""

import asyncio
import contextvars
import threading

import pytest

from gradnoise_service.api.threads import in_thread

NAME = contextvars.ContextVar[str]("name")


def test_a_result_comes_from_another_thread() -> None:
    assert asyncio.run(in_thread(threading.get_ident)) != threading.get_ident()


def test_an_error_comes_back() -> None:
    with pytest.raises(ZeroDivisionError):
        asyncio.run(in_thread(lambda: 1 // 0))


def test_a_function_runs_in_the_context_of_the_caller() -> None:
    async def named() -> str:
        NAME.set("of the caller")
        return await in_thread(NAME.get)

    assert asyncio.run(named()) == "of the caller"
