"""WaitingLines: which waiting trial starts next."""

import heapq
from collections.abc import Callable, Iterable
from typing import get_args

from gradnoise_service.domain.planned_trial import Stage
from gradnoise_service.domain.spec import Phase
from gradnoise_service.domain.study import Trial
from gradnoise_service.store.attempts import WaitingTrial

PHASES = get_args(Phase)


class WaitingLines:
    """The waiting trials of a study, a line for each stage, each in the declared order.

    The trials of earlier phases start first: others wait for them. The first trial of a line may
    have to wait until the trials that it sees have ended; then the trials of other lines go ahead,
    those behind it do not.

    Args:
        stage: Returns the stage of a trial.
        is_due: Returns whether the first trial of a line may start.
        trials: The waiting trials.
    """

    def __init__(
        self,
        stage: Callable[[Trial], Stage],
        is_due: Callable[[WaitingTrial], bool],
        trials: Iterable[WaitingTrial] = (),
    ) -> None:
        self._stage = stage
        self._is_due = is_due
        self._lines: dict[Stage, list[tuple[int, int, WaitingTrial]]] = {}
        self.add(trials)

    def __bool__(self) -> bool:
        return any(self._lines.values())

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    @property
    def stages(self) -> set[Stage]:
        """The stages that have waiting trials."""
        return {stage for stage, line in self._lines.items() if line}

    def add(self, trials: Iterable[WaitingTrial]) -> None:
        for waiting in trials:
            line = self._lines.setdefault(self._stage(waiting.trial), [])
            trial = waiting.trial
            heapq.heappush(line, (PHASES.index(trial.phase), trial.id, waiting))

    def has_due(self) -> bool:
        return bool(self._due())

    def take(self) -> WaitingTrial:
        """Remove and return the trial that starts next: of the due ones, the first declared."""
        return heapq.heappop(min(self._due(), key=lambda line: line[0][:2]))[2]

    def _due(self) -> list[list[tuple[int, int, WaitingTrial]]]:
        return [line for line in self._lines.values() if line and self._is_due(line[0][2])]
