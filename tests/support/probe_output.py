"""Workloads that do more to their process than train: they print, or end it."""

import torch

from gradnoise.workloads import Batch, Forward
from probe_workloads import exact


class printing(exact):  # noqa: N801  # the entry point's name
    """Prints, of a single trial and of all that train together."""

    name = "printing"

    def initialise(self, model: torch.nn.Module, seed: int) -> None:
        print(f"seed {seed}")  # noqa: T201
        super().initialise(model, seed)

    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        print("loss")  # noqa: T201
        return super().loss(forward, batch)


class exiting(exact):  # noqa: N801  # the entry point's name
    """A network whose training ends the process if its seed is 7, and changes the process."""

    name = "exiting"

    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        torch.set_num_threads(torch.get_num_threads() + 1)
        return super().loss(forward, batch)

    def initialise(self, model: torch.nn.Module, seed: int) -> None:
        super().initialise(model, seed)
        if seed == 7:
            raise SystemExit(3)
