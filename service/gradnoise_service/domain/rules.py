"""Rules across fields, as the workers announce them: what one value means for another field."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel

from gradnoise_service.domain.space import Value, is_number

Kind = Literal["needs", "excludes", "above", "at_least", "at_most"]


class Condition(BaseModel, frozen=True):
    """A condition on `field`.

    It holds where the value of the field is in `values`, if there are any, and not in `other_than`.
    """

    field: str
    values: tuple[Value, ...] = ()
    other_than: tuple[Value, ...] = ()

    def holds(self, given: Mapping[str, object]) -> bool:
        """Return whether the condition holds for values by name."""
        if self.field not in given:
            return False
        value = given[self.field]
        return (not self.values or value in self.values) and value not in self.other_than


class Rule(BaseModel, frozen=True):
    """A rule on `field`, which applies where all conditions of `when` hold.

    `needs` requires a value and `excludes` forbids one. The other kinds compare the value with the
    limit `bound`, or `bound + times * x` where `of` names a field and x is its value. `meaning`
    describes the limit.
    """

    kind: Kind
    field: str
    when: tuple[Condition, ...] = ()
    bound: float = 0
    of: str = ""
    times: float = 1
    meaning: str = ""

    @property
    def fields(self) -> list[str]:
        """The names of all fields of the rule, without duplicates."""
        named = [self.field, *(condition.field for condition in self.when)]
        return list(dict.fromkeys([*named, self.of] if self.of else named))

    def limit(self, given: Mapping[str, object]) -> float | None:
        """Return the limit for values by name; None if it depends on a value that is missing."""
        if not self.of:
            return self.bound
        value = given.get(self.of)
        return self.bound + self.times * value if is_number(value) else None

    def is_broken(self, given: Mapping[str, object]) -> bool:
        """Return whether values by name break the rule; a missing name has no value."""
        if not all(condition.holds(given) for condition in self.when):
            return False
        is_given = self.field in given
        match self.kind:
            case "needs":
                return not is_given
            case "excludes":
                return is_given
        value, limit = given.get(self.field), self.limit(given)
        if not is_number(value) or limit is None:
            return False
        match self.kind:
            case "above":
                return value <= limit
            case "at_least":
                return value < limit
        return value > limit
