"""Training: trials in slots, each as a separate model or many as one.

For the workers and the tests. Packages of yours import `gradnoise`, `gradnoise.workloads`,
`gradnoise.testing` and `gradnoise.integrations`; everything else may change without notice.
"""

import torch

from gradnoise.training.checkpoint import Checkpoints
from gradnoise.training.files import Files
from gradnoise.training.single import SingleTrainer
from gradnoise.training.stack import StackTrainer
from gradnoise.training.trace import Trace
from gradnoise.training.trainer import Trainer

__all__ = ["Checkpoints", "Files", "Trainer", "device", "open_trainer"]


def open_trainer(
    slots: int,
    checkpoints: Checkpoints | None = None,
    eager: str = "",
    files: Files | None = None,
    trace: Trace | None = None,
) -> Trainer:
    """Return a trainer on the first GPU that torch sees, else on the CPU.

    Args:
        slots: Most trials at the same time; at least 1. With 1, trials train one at a time; with
            more, those that can train as one model do.
        checkpoints: Where it keeps the state of trials whose spec names a checkpoint.
        eager: Why no update is to be captured as a CUDA graph; empty: each is where that is
            possible.
        files: Where it keeps the files of trials whose spec names a checkpoint.
        trace: Where other processes see which trials train; None: nowhere.

    Raises:
        ValueError: If slots is below 1.
    """
    return (
        SingleTrainer(slots, device(), checkpoints, files, trace)
        if slots == 1
        else StackTrainer(slots, device(), checkpoints, eager, files, trace)
    )


def device() -> torch.device:
    """Return the device on which trials train in this process."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
