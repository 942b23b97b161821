"""Ranges, schemas and rules in words."""

import pytest

from gradnoise_service.domain import phrases
from gradnoise_service.domain.catalogue import ParameterRange
from gradnoise_service.domain.rules import Condition, Rule

STEP = Condition(field="schedule", values=("step", "cosine"))


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ({}, "a number in (-inf, inf)"),
        ({"low": 0.0, "high": 1.0}, "a number in [0, 1]"),
        ({"low": 0.0, "low_open": True}, "a number in (0, inf)"),
        ({"low": 1.0, "integer": True}, "a whole number in [1, inf)"),
        ({"choices": ("constant", "step")}, "one of constant, step"),
    ],
)
def test_range_is_an_interval_or_an_enumeration(bounds: dict[str, object], words: str) -> None:
    parameter = ParameterRange(name="p", description="", **bounds)  # type: ignore[arg-type]
    assert phrases.range_in_words(parameter) == words


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 9}, "a whole number, at least 1, at most 9"),
        ({"type": "string", "enum": ["a", "b"]}, "one of a, b"),
        ({"type": "boolean"}, "true or false"),
        ({"type": "array", "items": {"type": "number"}}, "a list, each a number"),
        ({"anyOf": [{"type": "number"}, {"type": "integer"}, {"type": "null"}]}, "a number"),
        ({"anyOf": [{"type": "number"}, {"$ref": "#/$defs/Word"}]}, "a number or one of x"),
        ({}, "a legal value"),
    ],
)
def test_schema_lists_kind_and_bounds(schema: dict[str, object], words: str) -> None:
    assert phrases.schema_in_words(schema, {"Word": {"enum": ["x"]}}) == words


@pytest.mark.parametrize(
    ("rule", "words", "legal"),
    [
        (
            Rule(kind="needs", field="every", when=(STEP,)),
            "must be given with schedule=step or cosine",
            "a value",
        ),
        (
            Rule(kind="excludes", field="every", when=(Condition(field="schedule"),)),
            "must not be given with schedule",
            "no value",
        ),
        (Rule(kind="above", field="momentum"), "must be above 0", "above 0"),
        (
            Rule(kind="at_least", field="size", of="every", times=2, bound=1),
            "must be at least 2 x every + 1",
            "at least 7",
        ),
        (
            Rule(
                kind="at_most",
                field="size",
                of="every",
                when=(Condition(field="every", other_than=(0,)),),
                meaning="the images",
            ),
            "must be at most every (the images) with every other than 0",
            "at most 3",
        ),
    ],
)
def test_rule_has_a_general_and_a_concrete_phrase(rule: Rule, words: str, legal: str) -> None:
    assert phrases.rule_in_words(rule) == words
    assert phrases.legal_by_rule(rule, {"every": 3}, None) == legal
