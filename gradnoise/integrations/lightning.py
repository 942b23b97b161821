"""Gradient noise in Lightning: `Trainer(callbacks=[GradientNoiseCallback(eta=0.3, seed=0)])`.

Requires `gradnoise[lightning]`.
"""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from gradnoise._hook import GradientNoise, attach
from gradnoise._keys import key
from gradnoise._processes import NoiseProcess
from gradnoise.integrations.arguments import check_arguments, names_in


class GradientNoiseCallback(Callback):
    """A callback that attaches noise to the optimizers of a fit, as `gradnoise.attach` does.

    The noise is added at every update, after Lightning's clipping. Lightning's checkpoints contain
    the state of the noise, so a resumed fit has the noise of an uninterrupted fit. The standard
    deviation of each update's noise is logged as `gradnoise/std`; std / ||g|| as `gradnoise/ratio`
    if it is measured.

    Parameters have their names in the LightningModule, however the optimizer was built. With
    several optimizers, the first has the noise of the seed. Each further optimizer has the noise of
    a seed derived from the seed and the optimizer's index; the names of its logs end in `-1`, `-2`
    and so on.

    Args:
        process: The noise process; None with eta.
        seed: Seeds the noise; at least 0.
        arguments: Further arguments of `gradnoise.attach`: eta, gamma, noise_scale, names, allow,
            measure_ratio.

    Raises:
        TypeError: If `gradnoise.attach` raises it for these arguments.
        ValueError: If `gradnoise.attach` raises it for these arguments.

    >>> noise = GradientNoiseCallback(eta=0.3, gamma=0.55, seed=0)
    >>> trainer = Trainer(
    ...     callbacks=[noise], accelerator="cpu", logger=False, enable_checkpointing=False
    ... )
    """

    def __init__(self, process: NoiseProcess | None = None, *, seed: int, **arguments: Any) -> None:
        # raises errors of the arguments now rather than when fitting starts
        check_arguments(process, seed=seed, **arguments)
        self.noises: list[GradientNoise] = []
        self._process = process
        self._seed = seed
        self._arguments = arguments
        self._restored: list[dict[str, Any]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self.noises, self._restored = [], []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.noises = [
            attach(
                optimizer,
                self._process,
                seed=self._seed_of(i),
                **({"names": names_in(pl_module, optimizer)} | self._arguments),
            )
            for i, optimizer in enumerate(trainer.optimizers)
        ]
        self._restore()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        for i, noise in enumerate(self.noises):
            for quantity, value in (("std", noise.last_std), ("ratio", noise.ratio)):
                if value is not None:
                    pl_module.log(_log_name(quantity, i), value)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._remove()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._remove()

    def state_dict(self) -> dict[str, Any]:
        return {"noises": [noise.state_dict() for noise in self.noises]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict["noises"]
        self._restore()

    def _seed_of(self, i: int) -> int:
        return (
            self._seed
            if i == 0
            else int.from_bytes(key(self._seed, "optimizer", str(i)).tobytes(), "little")
        )

    def _restore(self) -> None:
        # Lightning restores callbacks before it creates the optimizers, or after that with
        # strategies that shard the model
        if self._restored and self.noises:
            for noise, state in zip(self.noises, self._restored, strict=True):
                noise.load_state_dict(state)

    def _remove(self) -> None:
        for noise in self.noises:
            noise.remove()


def _log_name(quantity: str, i: int) -> str:
    return f"gradnoise/{quantity}-{i}" if i else f"gradnoise/{quantity}"
