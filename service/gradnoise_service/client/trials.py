"""Trials: the trials of a study, one by one or as a table."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Self

from gradnoise_service.client.errors import ClientError
from gradnoise_service.domain.study import Trial


class Trials(Iterator[Trial]):
    """An iterator over trials, which reads each page of the service once.

    Args:
        trials: The trials.
    """

    def __init__(self, trials: Iterator[Trial]) -> None:
        self._trials = trials

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Trial:
        return next(self._trials)

    def to_pandas(self) -> Any:
        """Return the remaining trials as a pandas DataFrame, a row each, with their id as index.

        Each parameter has a column of its own, `params.lr` for `lr`.

        Raises:
            ClientError: If pandas is not installed.
        """
        try:
            import pandas  # type: ignore[import-untyped]  # not a dependency
        except ImportError:
            raise ClientError(
                "to_pandas needs pandas, which is not installed: pip install pandas."
            ) from None
        rows = [asdict(trial) for trial in self]
        flat = [row | {"params": row["params"] or {}} for row in rows]
        table = pandas.json_normalize(flat, max_level=1)
        return table.set_index("id") if rows else table
