"""A launcher whose trials train in this process, by the trainer that a worker opens."""

from collections.abc import Sequence

from formula_launcher import FormulaLauncher
from gradnoise.training import open_trainer
from gradnoise.training.checkpoint import Checkpoints
from gradnoise.training.trial import Failed, Finished, Measurement, TrialSpec
from gradnoise_workers.launcher import LauncherEvent


class TrainerLauncher(FormulaLauncher):
    """Trains one epoch of every member at each call of `events`.

    Args:
        slots: Of the trainer.
        checkpoints: Where it keeps the states of trials; None: nowhere.

    Attributes:
        n_together: The most trials that trained an epoch at the same time.
    """

    def __init__(self, slots: int, checkpoints: Checkpoints | None = None) -> None:
        super().__init__(slots=slots)
        self.trainer = open_trainer(slots, checkpoints)
        self.n_together = 0
        self._go_on: list[str] = []

    def admit(self, spec: TrialSpec) -> None:
        super().admit(spec)
        self.trainer.admit(spec)

    def resume(self, key: str) -> None:
        self._go_on.append(key)

    def release(self, key: str) -> None:
        super().release(key)
        self.trainer.release(key)

    def events(self, timeout_seconds: float) -> Sequence[LauncherEvent]:
        go_on, self._go_on = self._go_on, []
        events = self.trainer.advance(go_on)
        measured = [event for event in events if isinstance(event, Measurement)]
        self.n_together = max(self.n_together, len(measured))
        for event in events:
            if isinstance(event, Finished | Failed):
                self.members.pop(event.key)
        return events
