"""Slice: a part of a list that is read by ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class HasId(Protocol):
    @property
    def id(self) -> int: ...


T = TypeVar("T", bound=HasId)


@dataclass(frozen=True)
class Slice(Generic[T]):
    """Items in the order of their ids; the next slice continues at `last_id`, None at the end."""

    items: Sequence[T]
    last_id: int | None


def sliced(items: Sequence[T], limit: int) -> Slice[T]:
    """Return the first `limit` of items that were read with a limit of `limit + 1`."""
    has_more = len(items) > limit
    return Slice(items[:limit], items[limit - 1].id if has_more else None)
