import json
import re
from typing import Any

import pytest

from gradnoise.rules import Rule, When, check_rules

WITH_STEP = (When(field="schedule", values=("step", "halving")),)
UNLESS_ALL = (When(field="examples", other_than=(0,)),)
NEEDS = Rule(kind="needs", field="every", when=WITH_STEP)
NEEDS_SCHEDULE = Rule(kind="needs", field="schedule", when=(When(field="every"),))
EXCLUDES = Rule(kind="excludes", field="clip", when=(When(field="schedule"),))
ABOVE = Rule(kind="above", field="momentum", when=(When(field="nesterov", values=(1,)),))
AT_MOST = Rule(
    kind="at_most", field="batch", of="examples", when=UNLESS_ALL, meaning="the examples"
)
AT_LEAST = Rule(kind="at_least", field="size", of="length", times=2, bound=1)


@pytest.mark.parametrize(
    ("rule", "kept", "broken"),
    [
        (
            NEEDS,
            [{}, {"schedule": "cosine"}, {"schedule": "step", "every": 2}, {"every": 2}],
            {"schedule": "step"},
        ),
        (NEEDS_SCHEDULE, [{}, {"every": 2, "schedule": "cosine"}], {"every": 2}),
        (EXCLUDES, [{}, {"clip": 1}, {"schedule": "step"}], {"clip": 1, "schedule": "step"}),
        (
            ABOVE,
            [{"nesterov": 1}, {"nesterov": 0, "momentum": 0}, {"nesterov": 1, "momentum": 0.1}],
            {"nesterov": 1.0, "momentum": 0},
        ),
        (
            AT_MOST,
            [{"batch": 9}, {"batch": 9, "examples": 0}, {"batch": 9, "examples": 9}],
            {"batch": 9, "examples": 8},
        ),
        (AT_LEAST, [{"length": 4}, {"length": 4, "size": 9}], {"length": 4, "size": 8}),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_a_rule_admits_what_it_does_not_concern(
    rule: Rule, kept: list[dict[str, Any]], broken: dict[str, Any]
) -> None:
    for given in kept:
        rule.check(given)
    with pytest.raises(ValueError, match=f"^{rule.field} "):
        rule.check(broken)


@pytest.mark.parametrize(
    ("rule", "given", "message"),
    [
        (NEEDS, {"schedule": "step"}, "every is missing: with schedule='step' it must be given."),
        (
            EXCLUDES,
            {"clip": 1, "schedule": "step"},
            "clip must not be given with schedule='step', but got clip=1.",
        ),
        (
            ABOVE,
            {"nesterov": 1, "momentum": 0},
            "momentum must be above 0 with nesterov=1, but got momentum=0.",
        ),
        (
            AT_MOST,
            {"batch": 9, "examples": 8},
            "batch must be at most 8, the examples, with examples=8, but got batch=9.",
        ),
        (
            AT_LEAST,
            {"size": 8, "length": 4},
            "size must be at least 9 with length=4, but got size=8.",
        ),
        (
            Rule(kind="at_most", field="x", bound=0.5),
            {"x": 1},
            "x must be at most 0.5, but got x=1.",
        ),
    ],
)
def test_the_message_names_field_value_and_legal_range(
    rule: Rule, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        rule.check(given)


def test_a_missing_field_is_named_with_its_legal_range() -> None:
    with pytest.raises(
        ValueError, match="every is missing: with schedule='step' it must be a whole"
    ):
        check_rules({"schedule": "step"}, [NEEDS_SCHEDULE, NEEDS], {"every": "a whole number"})


def test_all_conditions_must_hold() -> None:
    both = Rule(kind="excludes", field="c", when=(When(field="a"), When(field="b", values=(1,))))
    both.check({"a": 0, "b": 2, "c": 3})
    with pytest.raises(ValueError, match="c must not be given with a=0 and b=1, but got c=3"):
        both.check({"a": 0, "b": 1, "c": 3})
    assert both.fields == {"a", "b", "c"}


def test_a_rule_is_announced_as_json() -> None:
    assert NEEDS.document() == {
        "kind": "needs",
        "field": "every",
        "when": [{"field": "schedule", "values": ["step", "halving"]}],
    }
    assert AT_MOST.document() == {
        "kind": "at_most",
        "field": "batch",
        "when": [{"field": "examples", "other_than": [0]}],
        "bound": 0,
        "of": "examples",
        "times": 1,
        "meaning": "the examples",
    }
    assert ABOVE.document() == {
        "kind": "above",
        "field": "momentum",
        "when": [{"field": "nesterov", "values": [1]}],
        "bound": 0,
    }
    for rule in (NEEDS, EXCLUDES, ABOVE, AT_MOST, AT_LEAST):
        assert json.loads(json.dumps(rule.document())) == rule.document()
