"""Hyperparameters as techniques, optimizers and workloads declare them: a name, a meaning, a legal range."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A hyperparameter that a study may search.

    Args:
        name: As it stands in a study's space.
        description: One sentence, with the unit.
        low: Smallest legal value.
        high: Largest legal value, included.
        low_open: Whether low itself is excluded.
    """

    name: str
    description: str
    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False

    @property
    def legal(self) -> str:
        start = "(" if self.low_open or self.low == -math.inf else "["
        return f"a finite number in {start}{self.low:g}, {self.high:g}{')' if self.high == math.inf else ']'}"

    def check(self, value: object) -> None:
        """Raise ValueError if the value is not a finite number in the legal range."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not (is_number and self.low <= value <= self.high and not (self.low_open and value == self.low)):  # type: ignore[operator]  # a number
            raise ValueError(f"{self.name} must be {self.legal}, but got {self.name}={value!r}.")

    def document(self) -> dict[str, object]:
        """Return the declaration as JSON values; a missing bound means unbounded."""
        bounds = {name: value for name, value in (("low", self.low), ("high", self.high)) if math.isfinite(value)}
        return {"name": self.name, "description": self.description, **bounds, **({"low_open": True} if self.low_open else {})}


def check(params: Mapping[str, object], known: Iterable[Parameter], required: Iterable[str]) -> None:
    """Check hyperparameters against their declarations.

    Raises:
        ValueError: If one is unknown, missing or outside its range.
    """
    by_name = {parameter.name: parameter for parameter in known}
    for name, value in params.items():
        if name not in by_name:
            raise ValueError(f"there is no parameter named {name!r} here, legal are {', '.join(sorted(by_name))}; got {name}={value!r}.")
        by_name[name].check(value)
    for name in required:
        if name not in params:
            raise ValueError(f"{name} is missing: it must be {by_name[name].legal}.")
