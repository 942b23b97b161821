"""What a Trial is given: its hyperparameters, and its host, the trainer."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

Kept = Mapping[str, Any]
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Host(Protocol):
    """What a running trial needs of the trainer."""

    def hand_over(self, values: Mapping[str, float], conduct: Mapping[str, Any]) -> None:
        """Pass on a report and return when training may go on."""

    def wants_checkpoint(self) -> bool:
        """Return whether a checkpoint given now would be kept."""

    def keep(self, kept: Kept) -> None:
        """Keep a checkpoint."""

    def save(self, name: str, path: Path) -> None:
        """Keep a file under a name."""

    def kept(self) -> Kept | None:
        """Return what was kept before the trial was resumed; None if it was not."""

    def restore_generators(self, kept: Kept) -> None:
        """Restore the global generators as they were when it was kept."""


class Params(dict[str, Any]):
    """Hyperparameters by name; `read` has the names of those that were read."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        self.read.add(name)
        return value

    def __iter__(self) -> Any:  # with its own __iter__, dict(params) calls __getitem__
        return super().__iter__()

    def get(self, name: str, default: Any = None) -> Any:
        if name in self:
            return self[name]
        return default

    def items(self) -> Any:
        self.read.update(self)
        return super().items()

    def values(self) -> Any:
        self.read.update(self)
        return super().values()


def checked_name(name: str) -> str:
    """Return the name of a file, if it is one that every file system takes.

    Raises:
        ValueError: If it is not.

    >>> checked_name("weights.pt")
    'weights.pt'
    """
    if FILE_NAME.fullmatch(name) is None:
        raise ValueError(
            "the name of a file must be at most 100 letters, digits, dots, dashes and underscores, "
            f"the first a letter or a digit, but got {name!r}."
        )
    return name
