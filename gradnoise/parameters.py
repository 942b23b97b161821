"""Hyperparameters as techniques, optimizers and workloads declare them: a name, a meaning, a legal
range.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A hyperparameter that a study may search: a number, or one of some words.

    Args:
        name: As it stands in a study's space.
        description: One sentence, with the unit.
        low: Smallest legal value.
        high: Largest legal value, included.
        low_open: Whether low itself is excluded.
        integer: Whether only whole numbers are legal.
        choices: The legal words; then no number is legal.
        needs: Hyperparameters, declared beside it, that must be given with a word.
    """

    name: str
    description: str
    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    integer: bool = False
    choices: tuple[str, ...] = ()
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    @property
    def legal(self) -> str:
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        start = "(" if self.low_open or self.low == -math.inf else "["
        kind = "whole" if self.integer else "finite"
        return (
            f"a {kind} number in {start}{self.low:g}, "
            f"{self.high:g}{')' if self.high == math.inf else ']'}"
        )

    def check(self, value: object) -> None:
        """Raise ValueError if the value is neither a finite number in the legal range nor one of
        the words.
        """
        if not self._admits(value):
            raise ValueError(f"{self.name} must be {self.legal}, but got {self.name}={value!r}.")

    def document(self) -> dict[str, object]:
        """Return the declaration as JSON values; a missing bound means unbounded, and what else is
        missing is false or empty.
        """
        bounds = {
            name: value
            for name, value in (("low", self.low), ("high", self.high))
            if math.isfinite(value)
        }
        rest = {"low_open": self.low_open, "integer": self.integer, "choices": [*self.choices]}
        rest["needs"] = {word: [*names] for word, names in self.needs.items()}
        return {
            "name": self.name,
            "description": self.description,
            **bounds,
            **{name: value for name, value in rest.items() if value},
        }

    def _admits(self, value: object) -> bool:
        if self.choices:
            return value in self.choices
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            return False
        if self.integer and value != int(value):
            return False
        return self.low <= value <= self.high and not (self.low_open and value == self.low)


def check(
    params: Mapping[str, object], known: Iterable[Parameter], required: Iterable[str]
) -> None:
    """Check hyperparameters against their declarations.

    Raises:
        ValueError: If one is unknown, missing or outside its range.
    """
    by_name = {parameter.name: parameter for parameter in known}
    for name, value in params.items():
        if name not in by_name:
            raise ValueError(
                f"there is no parameter named {name!r} here, legal are "
                f"{', '.join(sorted(by_name))}; got {name}={value!r}."
            )
        by_name[name].check(value)
        for needed in by_name[name].needs.get(str(value), ()):
            if needed not in params:
                raise ValueError(
                    f"{needed} is missing: with {name}={value!r} it must be "
                    f"{by_name[needed].legal}."
                )
    for name in required:
        if name not in params:
            raise ValueError(f"{name} is missing: it must be {by_name[name].legal}.")
