"""Processes that run the same function at the same time, with one thread each.

They keep their state between calls.
"""

import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, TypeVar

import torch

T = TypeVar("T")
Item = TypeVar("Item")

_starting = threading.Lock()  # it sets variables of this process


class Crew:
    """Started processes, which end with the `with` block.

    Args:
        n: The number of processes.
        environment: Variables set in the processes, in addition to this process's.
    """

    def __init__(self, n: int, environment: Mapping[str, str] = {}) -> None:
        context = multiprocessing.get_context("spawn")
        pairs = [context.Pipe() for _ in range(n)]
        with _starting, variables({"OMP_NUM_THREADS": "1", **environment}):
            self._processes = [
                context.Process(target=_serve, args=(child_end,), daemon=True)
                for _, child_end in pairs
            ]
            for process in self._processes:
                process.start()
        for _, child_end in pairs:
            child_end.close()  # else a process that ends would not close the pipe
        self._pipes = [parent_end for parent_end, _ in pairs]

    def call(self, function: Callable[..., T], *args: object, n: int | None = None) -> list[T]:
        """Call the function in the first n processes, by default in all, and return the results.

        Raises:
            RuntimeError: If a process raised, with its traceback, or ended.
        """
        pipes = self._pipes[:n]
        for pipe in pipes:
            pipe.send((function, args))
        answers = [self._answer(pipe) for pipe in pipes]
        for _, error in answers:
            if error is not None:
                raise RuntimeError(f"a process of the benchmark failed:\n{error}")
        return [value for value, _ in answers]

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(10)
            process.kill()

    def _answer(self, pipe: Connection) -> tuple[Any, str | None]:
        try:
            value, error = pipe.recv()
        except EOFError:
            return None, "it ended without an answer, possibly for lack of memory."
        return value, error


def on_each(
    function: Callable[[Item], T], items: Iterable[Item], n: int
) -> Iterator[tuple[Item, T | RuntimeError]]:
    """Call the function with each item in one of n processes; yield results as they arrive.

    A process whose call raises is replaced, because its GPU may be in a faulty state; the item's
    result is then the error.
    """
    free: SimpleQueue[Crew | None] = SimpleQueue()

    def call(item: Item) -> tuple[Item, T | RuntimeError]:
        crew = free.get() or Crew(1)
        try:
            (result,) = crew.call(function, item)
        except RuntimeError as error:
            crew.__exit__()
            free.put(None)
            return item, error
        free.put(crew)
        return item, result

    for _ in range(n):
        free.put(None)
    with ThreadPoolExecutor(n) as threads:
        calls = [threads.submit(call, item) for item in items]
        for done in as_completed(calls):
            yield done.result()
    for _ in range(n):
        if crew := free.get():
            crew.__exit__()


@contextmanager
def variables(environment: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the processes that are started in the block."""
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _serve(pipe: Connection) -> None:
    torch.set_num_threads(1)
    while True:
        try:
            function, args = pipe.recv()
        except EOFError:
            return
        try:
            answer = function(*args), None
        except Exception:
            answer = None, traceback.format_exc()
        pipe.send(answer)
