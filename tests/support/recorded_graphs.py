"""CUDA graphs on a CPU: a capture records operations with their tensors, a replay repeats them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gradnoise.training import graphs

WAITS = {
    "aten::_local_scalar_dense": "reads a number back",
    "aten::lift_fresh": "copies numbers in",
}
"""Operations in which the host waits for the device, or a copy from the host does."""


class WaitingRaises(TorchDispatchMode):
    """Raises at operations that wait, as torch does in its sync debug mode and in a capture."""

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = operation.name().partition(".")[0]
        if name in WAITS:
            raise RuntimeError(f"called a synchronizing operation, which {WAITS[name]}")
        return operation(*args, **(kwargs or {}))


class RecordedGraph(WaitingRaises):
    """The operations of a capture."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        results = super().__torch_dispatch__(operation, types, args, kwargs)
        self.calls.append((operation, args, kwargs or {}, results))
        return results

    @torch.no_grad()
    def replay(self) -> None:
        """Repeat each operation; its results land in the memory of the captured results."""
        for operation, args, kwargs, results in self.calls:
            repeated = operation(*args, **kwargs)
            if isinstance(results, torch.Tensor):
                repeated, results = [repeated], [results]
            for result, again in zip(results or (), repeated or (), strict=True):
                if isinstance(result, torch.Tensor):
                    result.copy_(again)


class Cuda:
    """What stands for `torch.cuda`.

    Attributes:
        graphs: Every graph whose capture has begun.
        end_error: What the end of a capture raises; None: nothing.
        sync_debug_mode: The mode that is set, as torch counts them.
    """

    def __init__(self) -> None:
        self.graphs: list[RecordedGraph] = []
        self.end_error: Exception | None = None
        self.sync_debug_mode = 0
        self._raising = WaitingRaises()
        self._has_warned = False

    @contextmanager
    def graph(self, graph: RecordedGraph, *, capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        self.graphs.append(graph)
        try:
            with graph:
                yield
        finally:
            if self.end_error is not None:
                raise self.end_error

    def set_sync_debug_mode(self, mode: int | str) -> None:
        """Set the mode, and like torch warn after that, the first time."""
        number = {"default": 0, "warn": 1, "error": 2}.get(str(mode), mode)
        if number == 2:
            self._raising.__enter__()
        elif self.sync_debug_mode == 2:
            self._raising.__exit__(None, None, None)
        self.sync_debug_mode = int(number)
        if not self._has_warned:
            self._has_warned = True
            warnings.warn("Synchronization debug mode is a prototype feature", stacklevel=2)


@contextmanager
def on_cpu() -> Iterator[Cuda]:
    """Capture updates on the CPU within the context."""
    cuda, stream = Cuda(), SimpleNamespace(wait_stream=lambda other: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "are_supported", lambda device: True)
        for name, stands_in in {
            "Stream": lambda device: stream,
            "current_stream": lambda device: stream,
            "stream": lambda stream: nullcontext(),
            "synchronize": lambda device: None,
            "CUDAGraph": RecordedGraph,
            "graph": cuda.graph,
            "get_sync_debug_mode": lambda: cuda.sync_debug_mode,
            "set_sync_debug_mode": cuda.set_sync_debug_mode,
        }.items():
            patch.setattr(torch.cuda, name, stands_in)
        yield cuda
    assert cuda.sync_debug_mode == 0
