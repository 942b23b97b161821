"""A Trial outside of a process, with what it hands over."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradnoise.training.optimizers import sgd
from gradnoise.workloads.base import Metric
from gradnoise.workloads.function_host import Kept
from gradnoise.workloads.function_trial import Trial
from gradnoise.workloads.optimizer import Optimizer

ERROR = Metric(name="error", direction="minimize", worst=9.0)


class RecordingHost:
    """Keeps what the trial hands over, and every checkpoint."""

    def __init__(self, kept: Kept | None = None) -> None:
        self.reports: list[Mapping[str, float]] = []
        self.conduct: Mapping[str, Any] = {}
        self.checkpoints: list[Kept] = []
        self.files: dict[str, bytes] = {}
        self._kept = kept

    def hand_over(self, values: Mapping[str, float], conduct: Mapping[str, Any]) -> None:
        self.reports.append(values)
        self.conduct = conduct

    def wants_checkpoint(self) -> bool:
        return True

    def keep(self, kept: Kept) -> None:
        self.checkpoints.append(kept)

    def save(self, name: str, path: Path) -> None:
        self.files[name] = path.read_bytes()

    def kept(self) -> Kept | None:
        return self._kept

    def restore_generators(self, kept: Kept) -> None:
        """Do nothing: no generator was kept."""


def open_trial(
    host: RecordingHost | None = None, *, optimizer: Optimizer = sgd.OPTIMIZER, **changes: Any
) -> Trial:
    """Return a trial of three epochs."""
    return Trial(
        optimizer=optimizer,
        host=host or RecordingHost(),
        **{
            "params": {"lr": 0.1},
            "options": None,
            "seed": 1,
            "budget_epochs": 3,
            "with_test": False,
            "metrics": [ERROR],
            "process": None,
        }
        | changes,
    )
