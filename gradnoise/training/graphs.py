"""Updates captured as CUDA graphs, and the reasons why some are not."""

import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from gradnoise.training.memory import is_out_of_memory
from gradnoise.training.observed import line_of

WARM_UP_STEPS = 3


class NotCapturableError(Exception):
    """An update cannot be captured; the process is sound and can make it eagerly."""


class CaptureError(Exception):
    """A capture broke off.

    Streams and memory pools of the process may still count as capturing: nothing more should be
    trained in it.
    """


def are_supported(device: torch.device) -> bool:
    """Return whether updates on a device can be captured."""
    return device.type == "cuda"


def captured(
    update: Callable[[], None], reset: Callable[[], object], device: torch.device
) -> torch.cuda.CUDAGraph:
    """Return an update captured as a CUDA graph.

    It runs WARM_UP_STEPS times before, the last time in torch's sync debug mode, in which every
    wait of the host for the device raises. So an update that reads a number back, or copies one
    from the host, is found before it breaks a capture.

    Args:
        update: Makes the update; what it changes is overwritten later.
        reset: Called after each run before the capture.
        device: The GPU.

    Raises:
        NotCapturableError: If the update waits for the device, or raises in the capture.
        CaptureError: If the capture broke off.
        Exception: What the update raises without a capture, and lack of memory.
    """
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # of torch
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP_STEPS - 1):
            update()
            reset()
        with _in_which("waits for the device"), _waiting_raises():
            update()
        reset()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with _in_which("raises in the capture"), _ended_cleanly() as run:
        # threads that make the next orders may allocate memory meanwhile
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            run(update)
        torch.cuda.synchronize(device)
    return graph


@contextmanager
def _waiting_raises() -> Iterator[None]:
    before = torch.cuda.get_sync_debug_mode()
    try:
        with warnings.catch_warnings():
            # torch sets the mode, then warns once that it is a prototype
            warnings.simplefilter("ignore", UserWarning)
            torch.cuda.set_sync_debug_mode("error")
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@contextmanager
def _in_which(problem: str) -> Iterator[None]:
    """Raise NotCapturableError in place of an exception, other than on lack of memory."""
    try:
        yield
    except CaptureError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = f"an update {problem}: {_place(error)}"
    else:
        return
    raise NotCapturableError(reason)


@contextmanager
def _ended_cleanly() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Raise CaptureError where not the captured function raised, but the capture itself."""
    raised: list[Exception] = []

    def run(function: Callable[[], None]) -> None:
        try:
            function()
        except Exception as error:
            raised.append(error)
            raise

    try:
        yield run
    except Exception as error:
        if error in raised:
            raise
        first = raised[0] if raised else error
        reason = f"the capture of an update broke off: {_place(first)}"
    else:
        return
    raise CaptureError(reason)


def _place(error: Exception) -> str:
    return (
        f"{line_of(traceback.extract_tb(error.__traceback__))}{type(error).__name__}: "
        f"{' '.join(str(error).split())[:300]}"
    )
