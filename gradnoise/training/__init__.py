"""Training: trials in slots, alone or as one model."""

import torch

from gradnoise.training.single import SingleTrainer
from gradnoise.training.stack import StackTrainer
from gradnoise.training.trainer import Trainer

__all__ = ["Trainer", "open_trainer"]


def open_trainer(slots: int) -> Trainer:
    """Return the trainer for so many trials at once, on the first GPU if torch sees one, else on the CPU.

    Args:
        slots: Trials that it holds at most; at least 1. With 1, trials train alone; with more, those that can train as one model.

    Raises:
        ValueError: If slots is below 1.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return SingleTrainer(slots, device) if slots == 1 else StackTrainer(slots, device)
