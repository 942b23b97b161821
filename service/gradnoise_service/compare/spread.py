"""The variance within groups of values."""

import statistics
from collections.abc import Iterable, Sequence


def variance_within(groups: Iterable[Sequence[float]]) -> float | None:
    """Return the pooled variance: squared deviations from each group's mean over all n - 1.

    None if no group has two values.

    >>> variance_within([[1.0, 3.0], [5.0, 5.0], [7.0]]), variance_within([[1.0], []])
    (1.0, None)
    """
    several = [values for values in groups if len(values) > 1]
    n_free = sum(len(values) - 1 for values in several)
    squares = sum(statistics.variance(values) * (len(values) - 1) for values in several)
    return squares / n_free if n_free else None
