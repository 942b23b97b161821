"""Training: trials in slots, alone or as one model."""

import torch

from gradnoise.training.checkpoint import Checkpoints
from gradnoise.training.single import SingleTrainer
from gradnoise.training.stack import StackTrainer
from gradnoise.training.trainer import Trainer

__all__ = ["Checkpoints", "Trainer", "device", "open_trainer"]


def open_trainer(slots: int, checkpoints: Checkpoints | None = None) -> Trainer:
    """Return the trainer for so many trials at once, on the first GPU if torch sees one, else on
    the CPU.

    Args:
        slots: Trials that it holds at most; at least 1. With 1, trials train alone; with more,
            those that can train as one model.
        checkpoints: Where it keeps the state of trials whose spec names a checkpoint.

    Raises:
        ValueError: If slots is below 1.
    """
    return (
        SingleTrainer(slots, device(), checkpoints)
        if slots == 1
        else StackTrainer(slots, device(), checkpoints)
    )


def device() -> torch.device:
    """Return where trials train in this process."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
