"""WaitingLines: which waiting trial starts next."""

import heapq
from collections.abc import Callable, Iterable

from gradnoise_service.domain.search_key import SearchKey
from gradnoise_service.domain.study import Trial
from gradnoise_service.store.attempts import WaitingTrial


class WaitingLines:
    """The waiting trials of a phase, a line for each Optuna study, each in the declared order.

    The first trial of a line may have to wait until the trials that it sees have ended; then the
    trials of other lines go ahead, those behind it do not.

    Args:
        key: Returns the Optuna study of a trial.
        is_due: Returns whether the first trial of a line may start.
    """

    def __init__(
        self, key: Callable[[Trial], SearchKey], is_due: Callable[[WaitingTrial], bool]
    ) -> None:
        self._key = key
        self._is_due = is_due
        self._lines: dict[SearchKey, list[tuple[int, WaitingTrial]]] = {}

    def __bool__(self) -> bool:
        return any(self._lines.values())

    def add(self, trials: Iterable[WaitingTrial]) -> None:
        for waiting in trials:
            line = self._lines.setdefault(self._key(waiting.trial), [])
            heapq.heappush(line, (waiting.trial.id, waiting))

    def has_due(self) -> bool:
        return bool(self._due())

    def take(self) -> WaitingTrial:
        """Remove and return the trial that starts next: of the due ones, the first declared."""
        return heapq.heappop(min(self._due(), key=lambda line: line[0][0]))[1]

    def _due(self) -> list[list[tuple[int, WaitingTrial]]]:
        return [line for line in self._lines.values() if line and self._is_due(line[0][1])]
