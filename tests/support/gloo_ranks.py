"""Processes of a gloo process group, which run the functions of a test module."""

import datetime
import multiprocessing
import runpy
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

TIMEOUT = datetime.timedelta(seconds=120)


class Ranks:
    """The ranks of a process group, which start once and run any number of functions.

    Args:
        n: The number of ranks.
        folder: An empty folder for their rendezvous.
    """

    def __init__(self, n: int, folder: Path) -> None:
        context = multiprocessing.get_context("spawn")
        pipes = [context.Pipe() for _ in range(n)]
        self._pipes = [parent for parent, _ in pipes]
        self._processes = [
            context.Process(target=_serve, args=(rank, n, folder, pipes[rank][1]), daemon=True)
            for rank in range(n)
        ]
        for process, (_, child) in zip(self._processes, pipes, strict=True):
            process.start()
            child.close()

    def run(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        """Run a module's function on every rank and return the results in order.

        Raises:
            RuntimeError: If it raises on a rank; the ranks are then stopped.
        """
        for pipe in self._pipes:
            pipe.send((function.__code__.co_filename, function.__name__, args))
        results = []
        for pipe in self._pipes:
            if not pipe.poll(TIMEOUT.total_seconds()):
                raise RuntimeError(f"no answer from a rank within {TIMEOUT}")
            error, result = pipe.recv()
            if error:
                self.stop()
                raise RuntimeError(error)
            results.append(result)
        return results

    def stop(self) -> None:
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            process.terminate()
            process.join()
            pipe.close()


def _serve(rank: int, n: int, folder: Path, pipe: Connection) -> None:
    import torch

    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=n, timeout=TIMEOUT
    )
    modules: dict[str, dict[str, Any]] = {}
    while True:
        path, name, args = pipe.recv()
        try:
            modules.setdefault(path, {})
            if not modules[path]:
                modules[path] = runpy.run_path(path)
            pipe.send((None, modules[path][name](*args)))
        except Exception:
            pipe.send((traceback.format_exc(), None))
