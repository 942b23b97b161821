"""What the callbacks of Lightning and Transformers need of the trial of a training function."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch


class RunningTrial(Protocol):
    """The part of `gradnoise.workloads.Trial` that the callbacks use."""

    report_every: int | None
    epoch: int

    @property
    def reported_names(self) -> frozenset[str]: ...
    @property
    def checkpoint_is_due(self) -> bool: ...
    def is_attached(self, optimizer: torch.optim.Optimizer) -> bool: ...
    def attach(self, optimizer: torch.optim.Optimizer) -> None: ...
    def log(self, **values: float) -> None: ...
    def report(
        self, *, epoch: int | None = None, step: int | None = None, **values: float
    ) -> None: ...
    def checkpoint(self, state: Mapping[str, Any]) -> None: ...
    def restore(self) -> Any: ...


def report(trial: RunningTrial, step: int, values: Mapping[str, Any]) -> None:
    """Report the values of an evaluation.

    Args:
        trial: The trial.
        step: Updates so far; used with a budget in steps.
        values: Measured values by name; `epoch` and `step` are left out.

    Raises:
        ValueError, RuntimeError: As `Trial.report`.
    """
    numbers: dict[str, Any] = {
        name: float(value) for name, value in values.items() if name not in ("epoch", "step")
    }
    if trial.report_every is None:
        trial.report(epoch=trial.epoch + 1, **numbers)
    else:
        trial.report(step=step, **numbers)


def packed(path: Path) -> dict[str, Any]:
    """Return a file, or the files of a folder, as a state that a checkpoint can hold."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return {
        "files": {
            file.relative_to(path.parent).as_posix(): torch.from_numpy(
                np.fromfile(file, dtype=np.uint8)
            )
            for file in files
        }
    }


def unpacked(state: Mapping[str, Any], folder: Path) -> Path:
    """Write what `packed` returned into an empty folder, and return the path of file or folder."""
    for name, content in state["files"].items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        content.numpy().tofile(file)
    (path,) = folder.iterdir()
    return path
