"""Addresses of the next page of a list."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode


def next_address(
    path: str, cursor: Mapping[str, int | None], filters: Mapping[str, Any]
) -> str | None:
    """Return the address of the next page, None after the last page.

    Args:
        path: The path of the list.
        cursor: The name of the query parameter that continues the list, and its value; None at the
            end of the list.
        filters: The other query parameters; those that are None are left out.
    """
    if None in cursor.values():
        return None
    query = {**cursor, **filters}
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}"
