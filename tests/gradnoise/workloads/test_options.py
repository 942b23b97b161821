import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pytest

from gradnoise.rules import Rule, When
from gradnoise.workloads.options import option, parse, schema

jsonschema = pytest.importorskip("jsonschema")


@dataclass(frozen=True, kw_only=True)
class Options:
    depth: int = option(20, "Layers.", minimum=1, maximum=100)
    rate: float = option(0.5, "A rate.", minimum=0)
    init: Literal["simple", "he"] = option("simple", "Weights.")
    bits: Literal[8, 16] = option(8, "Bits.")
    name: str = option("x", "Any word.")
    bias: bool = option(True, "With biases.")


GOOD: list[dict[str, Any]] = [
    {},
    {"depth": 1},
    {"depth": 20.0},
    {"rate": 0},
    {"init": "he"},
    {"bits": 16},
    {"name": ""},
    {"bias": False},
]
BAD: list[dict[str, Any]] = [
    {"depth": 0},
    {"depth": 101},
    {"depth": 2.5},
    {"depth": "3"},
    {"depth": True},
    {"depth": None},
    {"rate": -0.1},
    {"rate": "1"},
    {"init": "she"},
    {"init": 1},
    {"bits": 9},
    {"name": 1},
    {"bias": 1},
    {"dept": 1},
]


@pytest.mark.parametrize("values", GOOD, ids=str)
def test_legal_options_are_parsed_with_defaults_for_the_rest(values: dict[str, Any]) -> None:
    assert parse(Options, values) == Options(**values)
    assert isinstance(parse(Options, values).depth, int)


@pytest.mark.parametrize("values", [*BAD, {"rate": math.inf}, {"rate": math.nan}], ids=str)
def test_illegal_options_are_refused_by_name(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        parse(Options, values)


@pytest.mark.parametrize(
    ("values", "legal"),
    [(values, True) for values in GOOD] + [(values, False) for values in BAD],
    ids=str,
)
def test_the_schema_admits_what_parsing_admits(values: dict[str, Any], legal: bool) -> None:
    """The service refuses by the schema exactly what the trainer refuses by parsing."""
    jsonschema.Draft202012Validator.check_schema(schema(Options))
    assert jsonschema.Draft202012Validator(schema(Options)).is_valid(values) is legal


def test_the_message_names_the_legal_values() -> None:
    with pytest.raises(
        ValueError,
        match=r"options.depth must be an integer of at least 1 and at most 100, but got depth=0",
    ):
        parse(Options, {"depth": 0})
    with pytest.raises(
        ValueError, match=r"options.init must be one of 'simple', 'he', but got init='she'"
    ):
        parse(Options, {"init": "she"})
    with pytest.raises(ValueError, match=r"there is no option named 'dept'; legal are depth, rate"):
        parse(Options, {"dept": 1})


def test_options_that_have_no_schema_are_refused() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Lists:
        widths: tuple[int, ...] = ()

    @dataclass(frozen=True, kw_only=True)
    class Needed:
        depth: int

    for options in (Lists, Needed):
        with pytest.raises(
            TypeError, match="must be a str, int, float, bool or Literal with a default"
        ):
            schema(options)


@dataclass(frozen=True, kw_only=True)
class Ruled:
    batch: int = option(10, "Examples in an update.", minimum=1)
    examples: int = option(0, "Training examples; 0 for all.", minimum=0)
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            kind="at_most",
            field="batch",
            of="examples",
            when=(When(field="examples", other_than=(0,)),),
            meaning="the training examples",
        ),
    )


def test_rules_apply_to_given_values_and_defaults() -> None:
    assert parse(Ruled, {"batch": 100}).batch == 100
    assert parse(Ruled, {"batch": 20, "examples": 20}).examples == 20
    for values, got in (({"batch": 20, "examples": 8}, 20), ({"examples": 8}, 10)):
        with pytest.raises(
            ValueError,
            match=(
                r"^options\.batch must be at most 8, the training examples, with examples=8, but "
                rf"got batch={got}\.$"
            ),
        ):
            parse(Ruled, values)


def test_rules_are_part_of_the_schema() -> None:
    announced = schema(Ruled)
    jsonschema.Draft202012Validator.check_schema(announced)
    assert announced["rules"] == [rule.document() for rule in Ruled.rules]
    assert "rules" not in schema(Options)


def test_a_rule_on_an_unknown_option_is_refused() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Wrong:
        depth: int = option(1, "Layers.")
        rules: ClassVar[tuple[Rule, ...]] = (Rule(kind="at_most", field="depth", of="width"),)

    with pytest.raises(ValueError, match="a rule of Wrong mentions 'width', which is no option"):
        schema(Wrong)
