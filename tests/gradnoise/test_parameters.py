import math
import re

import pytest

from gradnoise.parameters import Parameter, check, pick, union
from gradnoise.rules import Rule, When

LR = Parameter(name="lr", description="Learning rate.", low=0, low_open=True)
MOMENTUM = Parameter(name="momentum", description="Momentum.", low=0, high=0.9999)
WIDTH = Parameter(name="width", description="Units.", low=1, integer=True)
SCHEDULE = Parameter(name="schedule", description="Schedule.", choices=("constant", "cosine"))


@pytest.mark.parametrize(
    ("parameter", "good", "bad"),
    [
        (LR, [1e-9, 1, 1e9], [0, -1, math.inf, math.nan, "0.1", True, None]),
        (MOMENTUM, [0, 0.5, 0.9999], [-1e-9, 1.0, math.nan, "0.5"]),
        (WIDTH, [1, 2.0, 10**6], [0, 1.5, math.inf, "1", True]),
        (SCHEDULE, ["constant", "cosine"], ["Cosine", "", 0, None, ["cosine"]]),
        (
            Parameter(name="augment", description="Any.", choices=(True, None, "mixup", 2)),
            [True, None, "mixup", 2, 2.0],
            [False, 1, 0, "true", "None", ["mixup"]],
        ),
        (
            Parameter(name="kernels", description="Any.", choices=([3, 3], {"size": 5})),
            [[3, 3], {"size": 5}],
            [[3], [3, 5], 3, "[3, 3]", {}],
        ),
        (
            Parameter(name="betas", description="Any.", any_json=True),
            [[0.9, 0.98], {"a": [None]}, 3, "x", True, None],
            [[math.nan], math.inf, {1, 2}],
        ),
        (
            Parameter(name="x", description="Any."),
            [-1e300, 0, 3],
            [math.inf, -math.inf, "3", False],
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_parameter_admits_its_range_and_nothing_else(
    parameter: Parameter, good: list[object], bad: list[object]
) -> None:
    for value in good:
        parameter.check(value)
    for value in bad:
        with pytest.raises(
            ValueError,
            match=re.escape(
                f"{parameter.name} must be {parameter.legal}, but got {parameter.name}={value!r}."
            ),
        ):
            parameter.check(value)


def test_the_legal_range_is_written_as_an_interval() -> None:
    assert LR.legal == "a finite number in (0, inf)"
    assert MOMENTUM.legal == "a finite number in [0, 0.9999]"
    assert WIDTH.legal == "a whole number in [1, inf)"
    flags = Parameter(name="x", description="Any.", choices=(True, None, "on"))
    assert flags.legal == "one of true, null, on"
    assert SCHEDULE.legal == "one of constant, cosine"
    assert Parameter(name="x", description="Any.").legal == "a finite number in (-inf, inf)"


def test_the_document_leaves_out_what_is_not_there() -> None:
    assert LR.document() == {
        "name": "lr",
        "description": "Learning rate.",
        "low": 0,
        "low_open": True,
    }
    assert MOMENTUM.document() == {
        "name": "momentum",
        "description": "Momentum.",
        "low": 0,
        "high": 0.9999,
    }
    assert WIDTH.document() == {"name": "width", "description": "Units.", "low": 1, "integer": True}
    assert SCHEDULE.document() == {
        "name": "schedule",
        "description": "Schedule.",
        "choices": ["constant", "cosine"],
    }
    betas = Parameter(name="betas", description="Any.", any_json=True)
    assert betas.document() == {"name": "betas", "description": "Any.", "any_json": True}


def test_check_names_what_is_unknown_and_what_is_missing() -> None:
    check({"lr": 0.1}, [LR, MOMENTUM], ["lr"])
    with pytest.raises(
        ValueError, match=r"no parameter named 'rl' here, legal are lr, momentum; got rl=0.1"
    ):
        check({"rl": 0.1}, [LR, MOMENTUM], ["lr"])
    with pytest.raises(
        ValueError, match=r"lr is missing: it must be a finite number in \(0, inf\)"
    ):
        check({"momentum": 0.1}, [LR, MOMENTUM], ["lr"])


def test_check_applies_the_rules_with_the_legal_range() -> None:
    known = [SCHEDULE, WIDTH]
    rules = [
        Rule(kind="needs", field="width", when=(When(field="schedule", values=("cosine",)),)),
    ]
    check({"schedule": "constant"}, known, rules=rules)
    check({"schedule": "cosine", "width": 2}, known, rules=rules)
    with pytest.raises(
        ValueError,
        match=r"width is missing: with schedule='cosine' it must be a whole number in \[1, inf\)",
    ):
        check({"schedule": "cosine"}, known, rules=rules)


def test_two_parts_of_a_trial_may_not_declare_the_same_name() -> None:
    assert union([("the optimizer", (LR, MOMENTUM)), ("the technique", (WIDTH,))]) == (
        LR,
        MOMENTUM,
        WIDTH,
    )
    with pytest.raises(
        ValueError,
        match=(
            "the technique 'a' and the technique 'b' both declare the hyperparameter 'width': a "
            "trial cannot use them together"
        ),
    ):
        union([("the technique 'a'", (LR, WIDTH)), ("the technique 'b'", (WIDTH,))])


def test_the_declared_values_are_picked() -> None:
    assert pick({"lr": 0.1, "eta": 0.3}, [LR, MOMENTUM]) == {"lr": 0.1}
