"""The search space of a study: ranges, choices and fixed values of hyperparameters."""

import json
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Annotated, Self, TypeGuard

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from typing_extensions import TypeAliasType

LARGEST = 1e100
"""The largest magnitude of a number in a study; its square and its cube are finite."""
SMALLEST = 1e-100
"""The smallest magnitude of a number in a study other than 0, as the API accepts it."""
LARGEST_WHOLE = 2**53
"""The largest magnitude of a whole number in a study, up to which floats are exact."""
Number = Annotated[float, Field(strict=True)]
Whole = Annotated[int, Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Scalar = Flag | Number | Whole | str | None
Value = TypeAliasType("Value", "Scalar | list[Value] | dict[str, Value]")
"""A value of a hyperparameter: any JSON value."""

MAX_STEPS = 2**53


class CrossFieldError(ValueError):
    """A field's value is not legal in combination with other fields.

    Args:
        field: Path of the field below the model that raises the error.
        value: Value of the field, as in the request.
        message: What is wrong.
        legal: What would be legal.
    """

    def __init__(self, field: str, value: object, message: str, legal: str) -> None:
        self.field = field
        self.value = value
        self.message = message
        self.legal = legal
        super().__init__(f"{field}: {message}; legal is {legal}")


class Strict(BaseModel):
    """A frozen model that rejects unknown fields and non-finite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _is_in_range(cls, value: object) -> object:
        if isinstance(value, float) and abs(value) > LARGEST:
            raise ValueError(f"a number lies between -{LARGEST:g} and {LARGEST:g}")
        if isinstance(value, int) and abs(value) > LARGEST_WHOLE:
            raise ValueError("a whole number lies between -2^53 and 2^53")
        return value


class Range(Strict):
    """Numbers from low to high: uniform, log-uniform, stepped, or integers."""

    low: Number = Field(description="Smallest value, included.")
    high: Number = Field(description="Largest value, included; above low.")
    log: bool = Field(
        default=False, description="Search on a logarithmic scale; requires low above 0."
    )
    step: Number | None = Field(
        default=None, gt=0, description="Distance between values; not together with log."
    )
    integer: bool = Field(default=False, description="Whole numbers only.")

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low >= self.high:
            raise ValueError(
                f"low must be below high, but got low={self.low:g} and high={self.high:g}"
            )
        if self.log and self.low <= 0:
            raise ValueError(f"a log range needs low above 0, but got low={self.low:g}")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other: give one of them")
        bounds = (self.low, self.high, self.step)
        if self.integer and any(x is not None and x != int(x) for x in bounds):
            raise ValueError("an integer range needs whole numbers for low, high and step")
        if self.integer and max(abs(self.low), abs(self.high)) > LARGEST_WHOLE:
            raise ValueError("an integer range lies between -2^53 and 2^53")
        if self.step is not None:
            n_steps = (_decimal(self.high) - _decimal(self.low)) / _decimal(self.step)
            if n_steps > MAX_STEPS or n_steps.denominator != 1:
                raise ValueError(
                    "high must be low plus a whole number of steps, at most 2^53, but got "
                    f"low={self.low}, high={self.high}, step={self.step}"
                )
        return self

    @property
    def n_points(self) -> int | None:
        """The number of values in the range; None for a continuous range."""
        step = self._step
        return None if step is None else round((self.high - self.low) / step) + 1

    def points(self) -> Iterator[Value]:
        """Yield the values in order, each the float nearest to the decimal number.

        Raises:
            ValueError: If the range is continuous.

        >>> list(Range(low=0.3, high=0.9, step=0.3).points())
        [0.3, 0.6, 0.9]
        """
        step = self._step
        if step is None or self.n_points is None:
            raise ValueError(
                f"the range from {self.low:g} to {self.high:g} is continuous: give it a step"
            )
        for i in range(self.n_points):
            yield self._point(i, step)

    def nearest(self, value: float) -> Value:
        """Return the value of `points` that is nearest; whole numbers, and those in a continuous
        range, are left.

        >>> Range(low=0.3, high=0.9, step=0.1).nearest(0.6000000000000001)
        0.6
        """
        if self.integer or self.step is None:
            return value
        return self._point(round((value - self.low) / self.step), self.step)

    def _point(self, i: int, step: float) -> Value:
        value = _decimal(self.low) + i * _decimal(step)
        return int(value) if self.integer else float(value)

    @property
    def _step(self) -> float | None:
        return self.step or (1.0 if self.integer and not self.log else None)


def _decimal(number: float) -> Fraction:
    """Return the number as written in decimal: 1/10 for 0.1, which the float only approximates."""
    return Fraction(repr(number))


class Choices(Strict):
    """An unordered list of values."""

    choices: list[Value] = Field(
        min_length=1, max_length=100, description="The legal values, each listed once."
    )

    @field_validator("choices")
    @classmethod
    def _are_unique(cls, choices: list[Value]) -> list[Value]:
        if len(set(map(label, choices))) != len(choices):
            raise ValueError(f"choices must be unique, but got {choices}")
        return choices

    @property
    def n_points(self) -> int:
        return len(self.choices)

    def points(self) -> Iterator[Value]:
        yield from self.choices


SpaceEntry = Range | Choices | Scalar | list[Value]
"""What a space holds for a hyperparameter: a range, choices, or a fixed value.

A fixed object is written as choices of one, because a mapping is a range or choices.
"""

Space = Annotated[dict[str, SpaceEntry], Field(max_length=50)]


def label(value: Value) -> Scalar:
    """Return a scalar that is different for different values: lists and objects as JSON text.

    >>> label(0.9), label([3, 3]), label({"b": 1, "a": [None]})
    (0.9, '[3, 3]', '{"a": [null], "b": 1}')
    """
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return value


def is_number(value: object) -> TypeGuard[int | float]:
    """Return whether a value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def points(entry: SpaceEntry) -> list[Value]:
    """Return every value of an entry; raises ValueError for a continuous range."""
    return list(entry.points()) if isinstance(entry, Range | Choices) else [entry]


def fixed_values(space: dict[str, SpaceEntry]) -> dict[str, Value]:
    """Return the entries that are not searched.

    >>> fixed_values({"lr": Range(low=0.1, high=1.0), "momentum": 0.9})
    {'momentum': 0.9}
    """
    return {name: entry for name, entry in space.items() if not isinstance(entry, Range | Choices)}


def searched(space: Mapping[str, SpaceEntry]) -> dict[str, Range | Choices]:
    """Return the entries with several values.

    >>> list(searched({"lr": Range(low=0.1, high=1.0), "eta": Choices(choices=[1.0]), "beta": 0.9}))
    ['lr']
    """
    return {
        name: entry
        for name, entry in space.items()
        if isinstance(entry, Range | Choices) and entry.n_points != 1
    }


def as_json(entry: SpaceEntry) -> object:
    """Return an entry as JSON values, as a submission writes it."""
    if isinstance(entry, Range | Choices):
        return entry.model_dump(exclude_defaults=True)
    return entry
