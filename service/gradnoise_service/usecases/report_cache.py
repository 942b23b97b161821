"""ReportCache: reports and figures by what they show."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar

Content = TypeVar("Content", str, bytes)

MAX_CHARACTERS = 32_000_000


class ReportCache:
    """Keeps the reports that were read last, and makes one at a time.

    Drawing is not safe in several threads, and requests for the same report wait for one drawing.

    Args:
        max_characters: Characters (of figures bytes) of all kept reports together.
    """

    def __init__(self, max_characters: int = MAX_CHARACTERS) -> None:
        self._max_characters = max_characters
        self._kept: OrderedDict[Hashable, str | bytes] = OrderedDict()
        self._n_characters = 0
        self._reading = threading.Lock()
        self._making = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Content]) -> Content:
        """Return the report with a key, made if it is not kept."""
        found = self._find(key)
        if found is None:
            with self._making:
                found = self._find(key)
                if found is None:
                    found = make()
                    self._keep(key, found)
        return found  # type: ignore[return-value]  # a key has content of one type

    def _find(self, key: Hashable) -> str | bytes | None:
        with self._reading:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _keep(self, key: Hashable, content: str | bytes) -> None:
        with self._reading:
            self._kept[key] = content
            self._n_characters += len(content)
            while self._n_characters > self._max_characters:
                _, dropped = self._kept.popitem(last=False)
                self._n_characters -= len(dropped)
