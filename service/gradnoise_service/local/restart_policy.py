"""When a process that ended is restarted."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, kw_only=True)
class RestartPolicy:
    """Restarts a process after a growing pause, and gives it up after too many quick deaths.

    Args:
        max_quick_deaths: The number of quick deaths in a row after which a process is given up.
        quick_death: A death is quick if the process ran for less than this time.
        first_pause: The pause before the first restart; it doubles with each quick death.
        longest_pause: The upper bound of the pause.
    """

    max_quick_deaths: int = 5
    quick_death: timedelta = timedelta(seconds=20)
    first_pause: timedelta = timedelta(seconds=0.5)
    longest_pause: timedelta = timedelta(seconds=10)

    def pause(self, n_deaths: int) -> timedelta:
        """Return the pause before the restart after `n_deaths` deaths in a row, at least 1."""
        return min(self.longest_pause, self.first_pause * 2.0 ** min(n_deaths - 1, 16))
