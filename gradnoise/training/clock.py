"""The clock of device time."""

import time
from collections.abc import Callable

import torch


def clock_of(device: torch.device) -> Callable[[], float]:
    """Return the clock that measures training on a device, in seconds.

    On a CPU it is the thread's CPU time, which excludes the share of other processes; on a GPU it
    is wall-clock time.
    """
    return time.thread_time if device.type == "cpu" else time.perf_counter
