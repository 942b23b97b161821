"""Changes of a study's plain values, by dotted paths."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from gradnoise_service.client.errors import ClientError


def changed(
    values: Mapping[str, Any], changes: Mapping[str, Any], removed: Sequence[str] = ()
) -> dict[str, Any]:
    """Return a copy of a study's plain values without some fields, and others changed.

    Args:
        values: The plain values.
        changes: The new values by path, such as `search.epochs`. An entry of a list is given by its
            position, from 0, or by its name: `arms.noisy.space.eta`. A field that is missing is
            added.
        removed: The paths of fields and entries that are removed, before the changes.

    Raises:
        ClientError: If a path leads through a value that has no fields, or to no entry of a list;
            or if there is nothing to remove.

    >>> changed({"arms": [{"name": "noisy"}], "seed": 1}, {"arms.noisy.space.eta": 0.1, "seed": 2})
    {'arms': [{'name': 'noisy', 'space': {'eta': 0.1}}], 'seed': 2}
    >>> changed({"search": {"epochs": 9, "lag": 2}, "seed": 1}, {"seed": 2}, ["search.lag"])
    {'search': {'epochs': 9}, 'seed': 2}
    """
    result = copy.deepcopy(dict(values))
    for path in removed:
        node, key = _place(result, path)
        if isinstance(node, dict) and key not in node:
            raise ClientError(f"{path} cannot be removed: the study does not have it.")
        del node[key]
    for path, value in changes.items():
        node, key = _place(result, path)
        node[key] = value
    return result


def _place(values: dict[str, Any], path: str) -> tuple[Any, Any]:
    """Return the mapping or list that holds the value at a path, and its key there."""
    *fields, last = path.split(".")
    node: Any = values
    for field in fields:
        node = _child(node, field, path)
    return node, last if isinstance(node, dict) else _position(node, last, path)


def _child(node: Any, field: str, path: str) -> Any:
    child = (
        node.setdefault(field, {}) if isinstance(node, dict) else node[_position(node, field, path)]
    )
    if not isinstance(child, dict | list):
        raise ClientError(f"{path} cannot be changed: {field} is {child!r}, which has no fields.")
    return child


def _position(entries: list[Any], field: str, path: str) -> int:
    names = [entry.get("name") if isinstance(entry, dict) else None for entry in entries]
    if field in names:
        return names.index(field)
    if field.isascii() and field.isdecimal() and int(field) < len(entries):
        return int(field)
    known = ", ".join(map(str, filter(None, names))) or f"0 to {len(entries) - 1}"
    raise ClientError(f"{path} cannot be changed: {field} is no entry of the list; it has {known}.")
