"""The state of the process that a workload's code can change, which would reach other trials."""

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

Part = tuple[Callable[[], Any], Callable[[Any], Any]]


@contextmanager
def unchanged_process() -> Iterator[None]:
    """Restore the state of the process at the end of the block, as far as the block changed it.

    Restored are torch's default dtype and device, threads, deterministic mode and gradient mode,
    numpy's error handling, the current folder, the environment and the filters of warnings.
    """
    before = [read() for read, _ in PARTS]
    try:
        yield
    finally:
        for (read, write), value in zip(PARTS, before, strict=True):
            if read() != value:
                write(value)


def _folder() -> str:
    with contextlib.suppress(OSError):  # it was deleted
        return os.getcwd()
    return ""


def _enter(folder: str) -> None:
    with contextlib.suppress(OSError):
        os.chdir(folder)


def _environment() -> dict[bytes, bytes]:
    values: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]
    return values.copy()  # a public copy takes 300 times as long, in every epoch


def _set_environment(values: dict[bytes, bytes]) -> None:
    os.environ.clear()
    os.environb.update(values)


def _filters() -> list[Any]:
    return list(warnings.filters)


def _set_filters(filters: list[Any]) -> None:
    warnings.resetwarnings()  # so that Python forgets what it decided by the other filters
    warnings.filters[:] = filters  # type: ignore[index]


def _device() -> torch.device:
    return torch.empty(0).device


def _set_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)


def _deterministic() -> tuple[bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


def _set_deterministic(modes: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(modes[0], warn_only=modes[1])


PARTS: tuple[Part, ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (_device, _set_device),
    (torch.get_num_threads, torch.set_num_threads),
    (_deterministic, _set_deterministic),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (np.geterr, lambda modes: np.seterr(**modes)),
    (_folder, _enter),
    (_environment, _set_environment),
    (_filters, _set_filters),
)
