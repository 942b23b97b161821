"""Gradient noise in Transformers: `Trainer(callbacks=[GradientNoiseCallback(eta=0.3, seed=0)])`.

Requires `gradnoise[transformers]`.
"""

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from gradnoise._hook import GradientNoise, attach
from gradnoise._processes import NoiseProcess
from gradnoise.integrations.arguments import check_arguments, names_in


class GradientNoiseCallback(TrainerCallback):
    """A callback that attaches noise to the optimizer of a training run, as `attach` does.

    The noise is added at every update, after the Trainer's clipping. The optimizer's checkpoint
    contains the update count, so a resumed run has the noise of an uninterrupted run, except that
    the state of a preconditioner is lost. The logs contain the standard deviation of the last
    update's noise as `gradnoise_std`, and std / ||g|| as `gradnoise_ratio` if it is measured.
    Reporters such as TensorBoard run before the callbacks passed to a Trainer. For them to log
    these values, insert this callback first: `trainer.callback_handler.callbacks.insert(0,
    callback)`.

    Parameters have their names in the model, however the optimizer was built.

    Args:
        process: The noise process; None with eta.
        seed: Seeds the noise; at least 0.
        arguments: Further arguments of `gradnoise.attach`: eta, gamma, noise_scale, names, allow,
            measure_ratio.

    Raises:
        TypeError: If `gradnoise.attach` raises it for these arguments.
        ValueError: If `gradnoise.attach` raises it for these arguments.

    >>> noise = GradientNoiseCallback(eta=0.3, gamma=0.55, seed=0)
    """

    def __init__(self, process: NoiseProcess | None = None, *, seed: int, **arguments: Any) -> None:
        # raises errors of the arguments now rather than when training starts
        check_arguments(process, seed=seed, **arguments)
        self.noise: GradientNoise | None = None
        self._arguments: dict[str, Any] = {"process": process, "seed": seed, **arguments}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._remove()  # that of a run that raised an error
        optimizer = kwargs["optimizer"]
        names = names_in(kwargs["model"], optimizer)
        self.noise = attach(optimizer, **({"names": names} | self._arguments))

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # the logs of an evaluation and the final summary have no loss
        if self.noise is None or "loss" not in kwargs["logs"]:
            return
        values = {"gradnoise_std": self.noise.last_std, "gradnoise_ratio": self.noise.ratio}
        entries = {name: value for name, value in values.items() if value is not None}
        kwargs["logs"].update(entries)
        state.log_history[-1].update(entries)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        if self.noise is not None:
            self.noise.remove()
