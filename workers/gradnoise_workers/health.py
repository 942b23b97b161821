"""Health: whether trials fail because of the place where they train."""

from collections import Counter

Slot = tuple[str, str]
"""The id of a Ray node, and the number of a GPU there; empty: its cores."""


LEAST_FAILURES = 3
LEVEL = 1e-3


class Health:
    """The ends of trials at each place: a GPU, or the cores of a node."""

    def __init__(self) -> None:
        self._finished: Counter[Slot] = Counter()
        self._failed: Counter[Slot] = Counter()
        self._in_a_row: Counter[Slot] = Counter()

    def add(self, place: Slot, *, failed: bool) -> None:
        """Count a trial that ended at a place, or a process of several that died there."""
        (self._failed if failed else self._finished)[place] += 1
        self._in_a_row[place] = self._in_a_row[place] + 1 if failed else 0

    def failures_in_a_row(self, place: Slot) -> int:
        """Return how many trials failed at a place since one finished there."""
        return self._in_a_row[place]

    def fault(self, place: Slot) -> str:
        """Return why a place is to be set aside, a clause; empty if it is not.

        It is if so many failures in a row have a probability below LEVEL at the rate at which
        trials fail elsewhere, (failures + 1) / (ends + 2), and some trial finished elsewhere.
        """
        n = self._in_a_row[place]
        finished = sum(self._finished.values()) - self._finished[place]
        failed = sum(self._failed.values()) - self._failed[place]
        rate = (failed + 1) / (finished + failed + 2)
        if n < LEAST_FAILURES or not finished or rate**n >= LEVEL:
            return ""
        ended = finished + failed
        return f"{n} trials in a row failed there, but elsewhere {failed} of {ended}"
