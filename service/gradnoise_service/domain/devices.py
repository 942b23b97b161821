"""The devices on which trials train, and which of them a study uses."""

from dataclasses import dataclass
from typing import Literal, get_args

DeviceChoice = Literal["auto", "gpu", "cpu", "all"]
"""GPUs, cores, or both; auto: GPUs if there are any when the study starts, else cores."""

CHOICES: tuple[DeviceChoice, ...] = get_args(DeviceChoice)


@dataclass(frozen=True, kw_only=True)
class Devices:
    """The devices of a cluster.

    Args:
        n_gpus: GPUs that are not known to be unusable.
        n_cores: Cores.
        faults: Why GPUs are not used, a sentence for each node that offers such GPUs.
    """

    n_gpus: int = 0
    n_cores: int = 0
    faults: tuple[str, ...] = ()

    @property
    def served(self) -> tuple[DeviceChoice, ...]:
        """The choices of the studies that can train here."""
        return tuple(choice for choice in CHOICES if self.serve(choice))

    def serve(self, choice: DeviceChoice) -> bool:
        """Return whether a study of this choice can train here."""
        match choice:
            case "gpu":
                return self.n_gpus > 0
            case "cpu":
                return self.n_cores > 0
            case "auto" | "all":
                return self.n_gpus + self.n_cores > 0

    @property
    def text(self) -> str:
        """The numbers of devices.

        >>> Devices(n_gpus=1, n_cores=8).text
        '1 GPU and 8 CPU cores'
        """
        counts = ((self.n_gpus, "GPU"), (self.n_cores, "CPU core"))
        found = [f"{n} {kind}{'s' * (n != 1)}" for n, kind in counts if n]
        return " and ".join(found) or "no device"
