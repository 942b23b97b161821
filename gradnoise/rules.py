"""Rules across fields: what the value of one hyperparameter or option means for another.

A rule is data. The library checks it here; the catalogue carries it as JSON, so that a study that
breaks a rule is refused when it is submitted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["needs", "excludes", "above", "at_least", "at_most"]
Value = float | int | str | bool | None
COMPARED: Mapping[Kind, str] = {"above": "above", "at_least": "at least", "at_most": "at most"}


@dataclass(frozen=True, kw_only=True)
class When:
    """A condition on one field: it holds where the field has a value that the condition admits.

    Args:
        field: Name of the hyperparameter or option.
        values: The values for which the condition holds; empty: every value.
        other_than: The values for which it does not hold.
    """

    field: str
    values: tuple[Value, ...] = ()
    other_than: tuple[Value, ...] = ()

    def holds(self, given: Mapping[str, object]) -> bool:
        """Return whether the condition holds for these values by name."""
        if self.field not in given:
            return False
        value = given[self.field]
        return (not self.values or value in self.values) and value not in self.other_than

    def document(self) -> dict[str, object]:
        """Return the condition as JSON values; empty lists are left out."""
        lists = {"values": [*self.values], "other_than": [*self.other_than]}
        return {"field": self.field} | {name: values for name, values in lists.items() if values}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule on one field, which applies where all conditions of `when` hold.

    | kind | the rule | without a value of the field |
    |---|---|---|
    | needs | the field must be given | broken |
    | excludes | the field must not be given | kept |
    | above | field > limit | kept |
    | at_least | field >= limit | kept |
    | at_most | field <= limit | kept |

    The limit is `bound`, or `bound + times * x`, x being the value of the field that `of` names; a
    rule whose `of` has no value does not apply.

    Args:
        kind: What is required of the field.
        field: Name of the hyperparameter or option.
        when: The conditions; none: the rule always applies.
        bound: A number, in the field's unit.
        of: Name of the field that the limit depends on; empty: none.
        times: Its factor.
        meaning: What the limit is, for the message, such as `the training examples`.

    >>> rule = Rule(kind="at_least", field="size", of="length", times=2, bound=1)
    >>> rule.check({"size": 8, "length": 4})
    Traceback (most recent call last):
    ValueError: size must be at least 9 with length=4, but got size=8.
    """

    kind: Kind
    field: str
    when: tuple[When, ...] = ()
    bound: float = 0
    of: str = ""
    times: float = 1
    meaning: str = ""

    @property
    def fields(self) -> set[str]:
        """The names of all fields that the rule mentions."""
        named = {self.field, *(condition.field for condition in self.when)}
        return named | {self.of} if self.of else named

    def check(self, given: Mapping[str, object], legal: Mapping[str, str] = {}) -> None:
        """Check values by name.

        Args:
            given: The values; a name that is missing has no value.
            legal: The legal range of each field in words, for the message on a missing one.

        Raises:
            ValueError: If the rule is broken.
        """
        if not all(condition.holds(given) for condition in self.when):
            return
        if self.kind == "needs":
            if self.field not in given:
                raise ValueError(
                    f"{self.field} is missing:{self._context(given)} it must be "
                    f"{legal.get(self.field, 'given')}."
                )
            return
        if self.field not in given or (self.of and self.of not in given):
            return
        if self.kind != "excludes" and self._is_within(given):
            return
        value = given[self.field]
        raise ValueError(
            f"{self.field} must {self._demand(given)}{self._context(given)}, but got "
            f"{self.field}={value!r}."
        )

    def document(self) -> dict[str, object]:
        """Return the rule as JSON values; what has its default is left out."""
        limit = {"bound": self.bound, "of": self.of, "times": self.times, "meaning": self.meaning}
        if self.kind not in COMPARED:
            limit = {}
        elif not self.of:
            del limit["of"], limit["times"]
        return {
            "kind": self.kind,
            "field": self.field,
            "when": [condition.document() for condition in self.when],
            **{name: value for name, value in limit.items() if value != ""},
        }

    def _limit(self, given: Mapping[str, Any]) -> float:
        limit = self.bound + (self.times * given[self.of] if self.of else 0)
        return int(limit) if limit == int(limit) else limit

    def _is_within(self, given: Mapping[str, Any]) -> bool:
        value, limit = given[self.field], self._limit(given)
        match self.kind:
            case "above":
                return bool(value > limit)
            case "at_least":
                return bool(value >= limit)
        return bool(value <= limit)

    def _demand(self, given: Mapping[str, Any]) -> str:
        if self.kind == "excludes":
            return "not be given"
        meaning = f", {self.meaning}," if self.meaning else ""
        return f"be {COMPARED[self.kind]} {self._limit(given)}{meaning}"

    def _context(self, given: Mapping[str, object]) -> str:
        names = dict.fromkeys([condition.field for condition in self.when])
        if self.of:
            names[self.of] = None
        words = [f"{name}={given[name]!r}" for name in names]
        return f" with {' and '.join(words)}" if words else ""


def check_rules(
    given: Mapping[str, object], rules: Iterable[Rule], legal: Mapping[str, str] = {}
) -> None:
    """Check values by name against every rule.

    Raises:
        ValueError: If a rule is broken; the message names the field, its value and what is legal.
    """
    for rule in rules:
        rule.check(given, legal)
