"""The trial of a training function in Lightning; made by `Trial.lightning_callbacks`.

Requires `gradnoise[lightning]`.
"""

import tempfile
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from gradnoise.integrations.trials import RunningTrial, packed, report


class TrialCallback(Callback):
    """A callback that attaches the arm's techniques, reports, and offers checkpoints.

    With a budget in epochs it reports at the end of each epoch, after the validation; with a budget
    in steps after each validation. It reports what was logged, by name.

    Args:
        trial: The trial.
    """

    def __init__(self, trial: RunningTrial) -> None:
        self._trial = trial

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for optimizer in trainer.optimizers:
            if not self._trial.is_attached(optimizer):
                self._trial.attach(optimizer)
        # before the fit draws the seed of its loader
        self._trial.restore()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        is_fit = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if self._trial.report_every is not None and is_fit:
            self._report(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._trial.report_every is None:
            self._report(trainer)

    def _report(self, trainer: Trainer) -> None:
        values: dict[str, Any] = dict(trainer.callback_metrics)
        report(self._trial, trainer.global_step, values)
        if self._trial.checkpoint_is_due:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "lightning.ckpt")
                trainer.save_checkpoint(path)
                self._trial.checkpoint(packed(path))
