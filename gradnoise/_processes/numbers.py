"""Numbers as arguments: checked, and copied to floats."""

import math
import operator
from types import NoneType
from typing import Any


def number(name: str, value: Any, legal: str = "at least 0") -> float:
    """Return the value as a float, so that a later change of a tensor or an array has no effect.

    Args:
        name: The argument's name, for error messages.
        value: A number of any type, or a tensor or an array of a single number.
        legal: The legal range in words.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is negative or not finite.
    """
    if isinstance(value, str | bytes | bool | NoneType):
        raise TypeError(f"{name} must be a number, {legal} and finite, but got {name}={value!r}.")
    try:
        found = float(value.detach() if hasattr(value, "detach") else value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(
            f"{name} must be a number, {legal} and finite, but got {name}={value!r}."
        ) from None
    if not 0 <= found < math.inf:
        raise ValueError(f"{name} must be {legal} and finite, but got {name}={value!r}.")
    return found


def whole_number(name: str, value: Any) -> int:
    """Return the value as an int.

    Args:
        name: The argument's name, for error messages.
        value: An integer of any type and size.

    Raises:
        TypeError: If it is no integer.
        ValueError: If it is negative.
    """
    try:
        found = int(operator.index(value))
    except TypeError:
        raise TypeError(f"{name} must be an integer, but got {name}={value!r}.") from None
    if found < 0:
        raise ValueError(f"{name} must be at least 0, but got {name}={value!r}.")
    return found
