"""Gradient noise in Lightning: `Trainer(callbacks=[GradientNoiseCallback(eta=0.3, seed=0)])`; needs
`gradnoise[lightning]`.
"""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from gradnoise._hook import GradientNoise, attach
from gradnoise._keys import key


class GradientNoiseCallback(Callback):
    """Adds noise to the gradients of a fit's optimizers at every update, after Lightning's
    clipping, as `gradnoise.attach` does.

    Lightning's checkpoints hold what the noise must remember: a resumed fit goes on with the noise
    of one that never stopped. The standard deviation of each update's noise is logged as
    `gradnoise/std`, and std / ||g|| as `gradnoise/ratio` where it is measured.

    Parameters go by the names that their optimizer was given (`SGD(self.named_parameters(), ...)`),
    else by `<group>.<index>`. Of several optimizers the first has the noise of the seed, and each
    further one that of a seed made from it and the optimizer's place, so that no two share noise
    whatever the names; their logs end in `-1`, `-2` and so on.

    Args:
        seed: Seeds the noise; at least 0.
        arguments: What else `gradnoise.attach` takes: eta, gamma, schedule, injection, allow,
            measure_ratio.

    Raises:
        ValueError: If `gradnoise.attach` would refuse the arguments.

    >>> noise = GradientNoiseCallback(eta=0.3, gamma=0.55, seed=0)
    >>> trainer = Trainer(callbacks=[noise], accelerator="cpu", logger=False, enable_checkpointing=False)
    """

    def __init__(self, *, seed: int, **arguments: Any) -> None:
        # refuses now what it would refuse when fitting starts
        attach(torch.optim.SGD([torch.zeros(1)]), seed=seed, **arguments).remove()
        self.noises: list[GradientNoise] = []
        self._seed = seed
        self._arguments = arguments
        self._restored: list[dict[str, Any]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self.noises, self._restored = [], []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.noises = [
            attach(optimizer, seed=self._seed_of(i), **self._arguments)
            for i, optimizer in enumerate(trainer.optimizers)
        ]
        self._restore()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        i = trainer.optimizers.index(optimizer)
        pl_module.log(_log_name("std", i), self.noises[i].std)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        for i, noise in enumerate(self.noises):
            if noise.ratio is not None:
                pl_module.log(_log_name("ratio", i), noise.ratio)

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
        # Lightning loads the callbacks' state before optimizers are there, but after that with
        # strategies that shard the model
        if self._restored and self.noises:
            for noise, state in zip(self.noises, self._restored, strict=True):
                noise.load_state_dict(state)

    def _remove(self) -> None:
        for noise in self.noises:
            noise.remove()


def _log_name(of: str, i: int) -> str:
    return f"gradnoise/{of}-{i}" if i else f"gradnoise/{of}"
