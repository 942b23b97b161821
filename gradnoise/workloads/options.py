"""A workload's options: a frozen dataclass, and the JSON Schema and the checks that follow from it.

A field is `str` (best with Literal choices), `int`, `float` or `bool`, and carries its meaning and
bounds. The class attribute `rules` holds the rules across fields:

>>> @dataclasses.dataclass(frozen=True, kw_only=True)
... class Options:
...     depth: int = option(20, "Hidden layers.", minimum=1)
...     first: int = option(0, "The first layer with dropout.", minimum=0)
...     rules = (Rule(kind="at_most", field="first", of="depth"),)
>>> schema(Options)["properties"]["depth"]
{'type': 'integer', 'default': 20, 'description': 'Hidden layers.', 'minimum': 1}
>>> parse(Options, {"depth": 0})
Traceback (most recent call last):
ValueError: options.depth must be an integer of at least 1, but got depth=0.
>>> parse(Options, {"first": 21})
Traceback (most recent call last):
ValueError: options.first must be at most 20 with depth=20, but got first=21.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from gradnoise.rules import Rule, check_rules

DIALECT = "https://json-schema.org/draft/2020-12/schema"
T = TypeVar("T")
TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}


def option(
    default: Any, description: str, *, minimum: float | None = None, maximum: float | None = None
) -> Any:
    """Return the dataclass field of an option.

    Args:
        default: The value in a study that does not give it; every option has a default.
        description: What it means, in one sentence.
        minimum: Smallest legal number.
        maximum: Largest legal number.
    """
    bounds = {
        name: bound
        for name, bound in (("minimum", minimum), ("maximum", maximum))
        if bound is not None
    }
    return dataclasses.field(default=default, metadata={"description": description, **bounds})


def schema(options: type) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of an options class.

    JSON Schema cannot compare two properties, so the keyword `rules`, which validators ignore,
    lists the rules; a rule applies to the given values and the defaults of the others.

    Raises:
        TypeError: If a field has no schema.
        ValueError: If a rule mentions a field that does not exist.
    """
    properties = _properties(options)
    described = [rule.document() for rule in _rules(options, properties)]
    return {
        "$schema": DIALECT,
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        **({"rules": described} if described else {}),
    }


def parse(options: type[T], values: Mapping[str, object]) -> T:
    """Return the options made from JSON values, defaults where a name is missing.

    Raises:
        ValueError: If a name is unknown, a value has the wrong type or lies outside its range, or a
            rule is broken.
    """
    properties = _properties(options)
    parsed: dict[str, object] = {}
    for name, value in values.items():
        if name not in properties:
            raise ValueError(
                f"there is no option named {name!r}; legal are {', '.join(properties) or 'none'}."
            )
        whole = (
            isinstance(value, float)
            and properties[name]["type"] == "integer"
            and value.is_integer()
        )
        # JSON knows no integers: 20.0 is 20
        parsed[name] = int(value) if whole else value  # type: ignore[call-overload]
        if not _is_legal(parsed[name], properties[name]):
            raise ValueError(
                f"options.{name} must be {_legal(properties[name])}, but got {name}={value!r}."
            )
    opened = options(**parsed)
    known = {name: getattr(opened, name) for name in properties}
    try:
        check_rules(known, _rules(options, properties))
    except ValueError as error:
        raise ValueError(f"options.{error}") from None
    return opened


def _rules(options: type, properties: Mapping[str, object]) -> tuple[Rule, ...]:
    rules: tuple[Rule, ...] = getattr(options, "rules", ())
    for rule in rules:
        unknown = rule.fields - properties.keys()
        if unknown:
            raise ValueError(
                f"a rule of {options.__name__} mentions {sorted(unknown)[0]!r}, which is no option."
            )
    return rules


def _properties(options: type) -> dict[str, dict[str, Any]]:
    hints = get_type_hints(options)
    properties = {}
    for field in dataclasses.fields(options):
        hint = hints[field.name]
        choices = list(get_args(hint)) if get_origin(hint) is Literal else None
        kind = type(choices[0]) if choices else hint
        if kind not in TYPES or field.default is dataclasses.MISSING:
            raise TypeError(
                f"option {field.name!r} must be a str, int, float, bool or Literal with a default, "
                f"but it is {hint}."
            )
        enum = {"enum": choices} if choices else {}
        properties[field.name] = {
            "type": TYPES[kind],
            **enum,
            "default": field.default,
            **field.metadata,
        }
    return properties


def _is_legal(value: Any, rule: Mapping[str, Any]) -> bool:
    match rule["type"]:
        case "string" | "boolean" as kind:
            right_type = isinstance(value, str if kind == "string" else bool)
        case "integer":
            right_type = isinstance(value, int) and not isinstance(value, bool)
        case _:
            right_type = (
                isinstance(value, int | float)
                and not isinstance(value, bool)
                and math.isfinite(value)
            )
    if not right_type or value not in rule.get("enum", [value]):
        return False
    return not ("minimum" in rule and value < rule["minimum"]) and not (
        "maximum" in rule and value > rule["maximum"]
    )


def _legal(rule: Mapping[str, Any]) -> str:
    if "enum" in rule:
        return f"one of {', '.join(map(repr, rule['enum']))}"
    words = {
        "string": "a string",
        "boolean": "true or false",
        "integer": "an integer",
        "number": "a finite number",
    }[rule["type"]]
    bounds = [
        f"at {word} {rule[name]}"
        for name, word in (("minimum", "least"), ("maximum", "most"))
        if name in rule
    ]
    return f"{words} of {' and '.join(bounds)}" if bounds else words
