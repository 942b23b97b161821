"""Gradient noise in Transformers: `Trainer(callbacks=[GradientNoiseCallback(eta=0.3, seed=0)])`;
needs `gradnoise[transformers]`.
"""

from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gradnoise._hook import GradientNoise, attach


class GradientNoiseCallback(TrainerCallback):
    """Adds noise to the gradients of a training run at every update, after the Trainer's clipping,
    as `gradnoise.attach` does.

    The update count is in the optimizer's checkpoint: a resumed run goes on with the noise of one
    that never stopped, save that a preconditioner starts anew. The standard deviation of the last
    update's noise stands beside `grad_norm` in the logs, as `gradnoise_std`, and std / ||g|| as
    `gradnoise_ratio` where it is measured. Reporters such as TensorBoard are served before the
    callbacks that a Trainer is given; for them to see it too, put this one first, by
    `trainer.callback_handler.callbacks.insert(0, callback)`.

    Parameters go by the names that their optimizer was given (`SGD(model.named_parameters(),
    ...)`), else by `<group>.<index>`, as those of the Trainer's own optimizer.

    Args:
        seed: Seeds the noise; at least 0.
        arguments: What else `gradnoise.attach` takes: eta, gamma, schedule, injection, allow,
            measure_ratio.

    Raises:
        ValueError: If `gradnoise.attach` would refuse the arguments.

    >>> noise = GradientNoiseCallback(eta=0.3, gamma=0.55, seed=0)
    """

    def __init__(self, *, seed: int, **arguments: Any) -> None:
        # refuses now what it would refuse when training starts
        attach(torch.optim.SGD([torch.zeros(1)]), seed=seed, **arguments).remove()
        self.noise: GradientNoise | None = None
        self._arguments = {"seed": seed, **arguments}
        self._std = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._remove()  # of a run that raised
        self.noise = attach(kwargs["optimizer"], **self._arguments)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.noise is not None:
            self._std = self.noise.std

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # an evaluation's logs, or the summary at the end
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
