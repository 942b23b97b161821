"""A rule decides about values by name as the workers do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradnoise.rules import Rule as LibraryRule
from gradnoise.rules import When
from gradnoise_service.domain.rules import Rule

WITH_STEP = (When(field="schedule", values=("step",)),)
RULES = [
    LibraryRule(kind="needs", field="every", when=WITH_STEP),
    LibraryRule(kind="excludes", field="every", when=WITH_STEP),
    LibraryRule(kind="above", field="momentum", when=(When(field="schedule"),)),
    LibraryRule(kind="at_least", field="size", of="every", times=2, bound=1),
    LibraryRule(
        kind="at_most", field="size", bound=3, when=(When(field="every", other_than=(0,)),)
    ),
]
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "schedule": st.sampled_from(["constant", "step"]),
        "every": st.integers(0, 3),
        "momentum": st.sampled_from([0.0, 0.9]),
        "size": st.integers(0, 8),
    },
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
@given(values=VALUES)
def test_service_and_library_decide_alike(rule: LibraryRule, values: dict[str, object]) -> None:
    announced = Rule.model_validate(rule.document())
    try:
        rule.check(values)
    except ValueError:
        assert announced.is_broken(values)
    else:
        assert not announced.is_broken(values)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
def test_fields_are_those_of_the_library(rule: LibraryRule) -> None:
    announced = Rule.model_validate(rule.document())
    assert set(announced.fields) == rule.fields
    assert announced.fields[0] == rule.field


def test_limit_depends_on_another_field() -> None:
    rule = Rule(kind="at_least", field="size", of="length", times=2, bound=1)
    assert rule.limit({"length": 4}) == 9
    assert rule.limit({}) is None
