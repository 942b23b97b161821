"""Declarations of hyperparameters: name, meaning, legal range, and rules across several.

Techniques, optimizers and workloads declare hyperparameters.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from gradnoise.rules import Rule, check_rules

V = TypeVar("V")
JsonValue: TypeAlias = float | str | bool | list["JsonValue"] | dict[str, "JsonValue"] | None
"""A value of a hyperparameter."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A hyperparameter that a study may search: a number, a choice among values, or any value.

    Args:
        name: The name in a study's search space.
        description: One sentence, with the unit.
        low: Smallest legal value.
        high: Largest legal value, included.
        low_open: Whether low itself is excluded.
        integer: Whether only whole numbers are legal.
        choices: The legal values, of any JSON type: text, numbers, True, False, None, lists, dicts;
            if there are any, no others are legal.
        any_json: Whether every value of a JSON type is legal.
    """

    name: str
    description: str
    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    integer: bool = False
    choices: tuple[JsonValue, ...] = ()
    any_json: bool = False

    @property
    def legal(self) -> str:
        """The legal range in words, such as `a finite number in (0, inf)`."""
        if self.any_json:
            return "any JSON value"
        if self.choices:
            words = (c if isinstance(c, str) else json.dumps(c) for c in self.choices)
            return f"one of {', '.join(words)}"
        start = "(" if self.low_open or self.low == -math.inf else "["
        kind = "whole" if self.integer else "finite"
        return (
            f"a {kind} number in {start}{self.low:g}, "
            f"{self.high:g}{')' if self.high == math.inf else ']'}"
        )

    def check(self, value: object) -> None:
        """Check a value.

        Raises:
            ValueError: If it is neither a finite number in the legal range nor a legal choice.
        """
        if not self._admits(value):
            raise ValueError(f"{self.name} must be {self.legal}, but got {self.name}={value!r}.")

    def document(self) -> dict[str, object]:
        """Return the declaration as JSON values.

        A missing bound means unbounded; any other missing value is false or empty.
        """
        bounds = {
            name: value
            for name, value in (("low", self.low), ("high", self.high))
            if math.isfinite(value)
        }
        others = {
            "low_open": self.low_open,
            "integer": self.integer,
            "choices": [*self.choices],
            "any_json": self.any_json,
        }
        return {
            "name": self.name,
            "description": self.description,
            **bounds,
            **{name: value for name, value in others.items() if value},
        }

    def _admits(self, value: object) -> bool:
        if self.any_json:
            return _is_json(value)
        if self.choices:
            # True is no 1
            return any(
                value == choice and isinstance(value, bool) == isinstance(choice, bool)
                for choice in self.choices
            )
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
    params: Mapping[str, object],
    known: Iterable[Parameter],
    required: Iterable[str] = (),
    rules: Iterable[Rule] = (),
) -> None:
    """Check hyperparameters against their declarations.

    Args:
        params: Values by name.
        known: The declarations of all names that may be given.
        required: The names that must be given.
        rules: The rules across them.

    Raises:
        ValueError: If a name is unknown or missing, a value is outside its range, or a rule is
            broken.
    """
    by_name = {parameter.name: parameter for parameter in known}
    for name, value in params.items():
        if name not in by_name:
            raise ValueError(
                f"there is no parameter named {name!r} here, legal are "
                f"{', '.join(sorted(by_name))}; got {name}={value!r}."
            )
        by_name[name].check(value)
    for name in required:
        if name not in params:
            raise ValueError(f"{name} is missing: it must be {by_name[name].legal}.")
    check_rules(params, rules, {name: parameter.legal for name, parameter in by_name.items()})


def union(declared: Iterable[tuple[str, Sequence[Parameter]]]) -> tuple[Parameter, ...]:
    """Return the hyperparameters that several parts of a trial declare, in order.

    Args:
        declared: Each part in words, such as `the technique 'annealed'`, with its declarations.

    Raises:
        ValueError: If two parts declare the same name.
    """
    owners: dict[str, str] = {}
    found: list[Parameter] = []
    for owner, parameters in declared:
        for parameter in parameters:
            if parameter.name in owners:
                raise ValueError(
                    f"{owners[parameter.name]} and {owner} both declare the hyperparameter "
                    f"{parameter.name!r}: a trial cannot use them together."
                )
            owners[parameter.name] = owner
            found.append(parameter)
    return tuple(found)


def pick(params: Mapping[str, V], declared: Iterable[Parameter]) -> dict[str, V]:
    """Return the values of the declared hyperparameters that are given."""
    names = [parameter.name for parameter in declared]
    return {name: params[name] for name in names if name in params}


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
