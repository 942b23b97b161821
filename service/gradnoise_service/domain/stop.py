"""Stops on request: what of a study counts, so that every arm has had an equal budget."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from gradnoise_service.domain.spec import Phase


@dataclass(frozen=True, kw_only=True)
class Stop:
    """A stop on request.

    Args:
        stopped_at: When it was requested.
        phase: The phase that it cut.
        n: What counts: of every `n_declared` trials of a search the first n, of the confirm seeds
            the first n; 0 in the rerun phase.
        n_declared: What was declared.
        confirms: Whether the study goes on to its confirm phase.
        n_extensions: Extensions of the study before the stop.
    """

    stopped_at: datetime
    phase: Phase
    n: int
    n_declared: int
    confirms: bool = False
    n_extensions: int = 0


def started_share(
    searches: Iterable[tuple[int, Callable[[int], bool]]],
) -> tuple[int, int]:
    """Return the largest share of their trials that all searches have started, as n of n_declared.

    Trials start by number, so a share is of the first ones. With equal numbers of trials n is the
    fewest that a search has started.

    Args:
        searches: Of each search the number of its trials, and whether trial i has started.

    >>> started_share([(8, lambda i: i < 6), (8, lambda i: i < 5), (4, lambda i: i < 3)])
    (5, 8)
    """
    found = []
    for n_declared, has_started in searches:
        n = next((i for i in range(n_declared) if not has_started(i)), n_declared)
        found.append((Fraction(n, n_declared), n, n_declared))
    _, n, n_declared = min(found)
    return n, n_declared
