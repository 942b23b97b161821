"""Changes of a study's plain values, by dotted paths."""

import copy
from collections.abc import Mapping
from typing import Any

from gradnoise_service.client.errors import ClientError


def changed(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a study's plain values with other values at some paths.

    Args:
        values: The plain values.
        changes: The new values by path, such as `search.epochs`. An entry of a list is given by its
            position, from 0, or by its name: `arms.noisy.space.eta`. A field that is missing is
            added.

    Raises:
        ClientError: If a path leads through a value that has no fields, or to no entry of a list.

    >>> changed({"arms": [{"name": "noisy"}], "seed": 1}, {"arms.noisy.space.eta": 0.1, "seed": 2})
    {'arms': [{'name': 'noisy', 'space': {'eta': 0.1}}], 'seed': 2}
    """
    result = copy.deepcopy(dict(values))
    for path, value in changes.items():
        *fields, last = path.split(".")
        node: Any = result
        for field in fields:
            node = _child(node, field, path)
        if isinstance(node, dict):
            node[last] = value
        else:
            node[_position(node, last, path)] = value
    return result


def _child(node: Any, field: str, path: str) -> Any:
    child = (
        node.setdefault(field, {}) if isinstance(node, dict) else node[_position(node, field, path)]
    )
    if not isinstance(child, dict | list):
        raise ClientError(f"{path} cannot be set: {field} is {child!r}, which has no fields.")
    return child


def _position(entries: list[Any], field: str, path: str) -> int:
    names = [entry.get("name") if isinstance(entry, dict) else None for entry in entries]
    if field in names:
        return names.index(field)
    if field.isascii() and field.isdecimal() and int(field) < len(entries):
        return int(field)
    known = ", ".join(map(str, filter(None, names))) or f"0 to {len(entries) - 1}"
    raise ClientError(f"{path} cannot be set: {field} is no entry of the list; it has {known}.")
