"""A slice has the id after which its list continues."""

from dataclasses import dataclass

import pytest

from gradnoise_service.usecases.slices import sliced


@dataclass
class Item:
    id: int


@pytest.mark.parametrize(("n_read", "last_id"), [(0, None), (3, None), (4, 3)])
def test_slice_continues_if_more_items_were_read_than_the_limit(
    n_read: int, last_id: int | None
) -> None:
    items = [Item(i) for i in range(1, n_read + 1)]
    found = sliced(items, limit=3)
    assert list(found.items) == items[:3]
    assert found.last_id == last_id
