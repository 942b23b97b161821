"""Gradient noise in Transformers: `Trainer(callbacks=[GradientNoiseCallback(eta=0.3, seed=0)])`.

Requires `gradnoise[transformers]`.
"""

from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gradnoise import GradientNoise, NoiseProcess, attach


class GradientNoiseCallback(TrainerCallback):
    """A callback that attaches noise to the optimizer of a training run, as `attach` does.

    The noise is added at every update, after the Trainer's clipping. The optimizer's checkpoint
    contains the update count, so a resumed run has the noise of an uninterrupted run, except that
    the state of a preconditioner is lost. The logs contain the standard deviation of the last
    update's noise beside `grad_norm`, as `gradnoise_std`, and std / ||g|| as `gradnoise_ratio` if
    it is measured. Reporters such as TensorBoard run before the callbacks passed to a Trainer. For
    them to log these values, insert this callback first:
    `trainer.callback_handler.callbacks.insert(0, callback)`.

    Parameters have the names that their optimizer was given (`SGD(model.named_parameters(), ...)`),
    else `<group>.<index>`, as in the optimizer that the Trainer creates.

    Args:
        process: The noise process; None with eta.
        seed: Seeds the noise; at least 0.
        arguments: Further arguments of `gradnoise.attach`: eta, gamma, allow, measure_ratio.

    Raises:
        TypeError: If `gradnoise.attach` raises it for these arguments.
        ValueError: If `gradnoise.attach` raises it for these arguments.

    >>> noise = GradientNoiseCallback(eta=0.3, gamma=0.55, seed=0)
    """

    def __init__(self, process: NoiseProcess | None = None, *, seed: int, **arguments: Any) -> None:
        # raises errors of the arguments now rather than when training starts
        attach(torch.optim.SGD([torch.zeros(1)]), process, seed=seed, **arguments).remove()
        self.noise: GradientNoise | None = None
        self._arguments: dict[str, Any] = {"process": process, "seed": seed, **arguments}
        self._std = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._remove()  # that of a run that raised an error
        self.noise = attach(kwargs["optimizer"], **self._arguments)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.noise is not None:
            self._std = self.noise.std

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # the logs of an evaluation and the final summary have no loss
        if self.noise is None or "loss" not in kwargs["logs"]:
            return
        entries = {"gradnoise_std": self._std}
        if self.noise.ratio is not None:
            entries["gradnoise_ratio"] = self.noise.ratio
        kwargs["logs"].update(entries)
        state.log_history[-1].update(entries)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        if self.noise is not None:
            self.noise.remove()
