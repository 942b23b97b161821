"""The factor of each parameter's noise: that of its group times that of its name."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import numpy.typing as npt

from gradnoise._processes.numbers import number

KEY = "noise_scale"

Patterns = Mapping[str, float]


def checked(patterns: Any) -> dict[str, float]:
    """Return the factors by pattern as numbers.

    Raises:
        TypeError: If it is no mapping from patterns to numbers.
        ValueError: If a factor is negative or not finite.
    """
    if not isinstance(patterns, Mapping):
        raise TypeError(
            f"{KEY} must map patterns of names to factors, such as {{'*.bias': 0.0}}, but got "
            f"{patterns!r}."
        )
    return {pattern: number(f"{KEY}[{pattern!r}]", value) for pattern, value in patterns.items()}


def check_matches(patterns: Patterns, names: Sequence[str]) -> None:
    """Raise an error for a pattern that matches no name.

    Raises:
        ValueError: If there is one.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            some = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            raise ValueError(
                f"the pattern {pattern!r} of {KEY} matches no parameter of the optimizer, whose "
                f"names are {some}: pass names=model.named_parameters() to name its parameters."
            )


def group_factors(groups: Sequence[Mapping[str, Any]]) -> tuple[float, ...]:
    """Return each group's `noise_scale`, 1 by default.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is negative or not finite.
    """
    return tuple(
        number(f"param_groups[{g}][{KEY!r}]", group[KEY]) if KEY in group else 1.0
        for g, group in enumerate(groups)
    )


def factors(
    patterns: Patterns,
    of_groups: Sequence[float],
    sizes: Sequence[int],
    names: Sequence[str],
) -> npt.NDArray[np.float64] | None:
    """Return the factor of each parameter's noise; None if all are 1.

    Args:
        patterns: Factors by pattern, as in `fnmatch`; the first that matches a name counts.
        of_groups: The factor of each group.
        sizes: The number of parameters in each group.
        names: The names of all parameters, group by group.
    """
    of_names = [
        next((value for pattern, value in patterns.items() if fnmatchcase(name, pattern)), 1.0)
        for name in names
    ]
    found = np.repeat(np.array(of_groups, dtype=np.float64), sizes) * of_names
    return None if (found == 1).all() else found
