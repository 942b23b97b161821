"""Faults of a study name the path as in the request and concern only the intended form."""

import math
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from gradnoise_service.api.schemas import ExtensionIn
from gradnoise_service.api.tokens import TokenIn
from gradnoise_service.api.validation import request_errors, spec_errors
from gradnoise_service.domain.phrases import PATTERNS
from gradnoise_service.domain.remarks import Remarks
from gradnoise_service.domain.spec import StudySpec

BASE: dict[str, Any] = {
    "name": "a study",
    "workload": "mlp",
    "smallest_difference": 0.02,
    "space": {"lr": 0.1},
    "search": {"n_trials": 4, "epochs": 3},
    "confirm": {"n_seeds": 5},
    "seed": 1,
}


def faults(**changes: object) -> list[tuple[str, object, str]]:
    sent = BASE | changes
    with pytest.raises(ValidationError) as caught:
        StudySpec.model_validate(sent)
    return [(fault.field, fault.value, fault.message) for fault in spec_errors(caught.value, sent)]


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ({"low": 1}, [("space.lr.high", None, "is missing")]),
        (
            {"low": 2, "high": 1},
            [
                (
                    "space.lr",
                    {"low": 2, "high": 1},
                    "low must be below high, but got low=2 and high=1",
                )
            ],
        ),
        ({"low": "x", "high": 1}, [("space.lr.low", "x", '"x" is not a number')]),
        (
            {"low": 1, "hihg": 2},
            [
                ("space.lr.high", None, "is missing"),
                ("space.lr.hihg", 2, "unknown field 'hihg'; did you mean 'high'?"),
            ],
        ),
        ({"choices": []}, [("space.lr.choices", [], "has too few entries")]),
        (
            {"choices": [[3, 3], [3, 3]]},
            [
                (
                    "space.lr.choices",
                    [[3, 3], [3, 3]],
                    "choices must be unique, but got [[3, 3], [3, 3]]",
                )
            ],
        ),
        (
            {"choices": [1, 1]},
            [("space.lr.choices", [1, 1], "choices must be unique, but got [1, 1]")],
        ),
        (
            {"choices": [1], "log": True},
            [("space.lr.log", True, "unknown field 'log'")],
        ),
        (
            {"min": 1, "max": 2},
            [
                (
                    "space.lr",
                    {"min": 1, "max": 2},
                    '{"min": 1, "max": 2} is not legal',
                )
            ],
        ),
        ({"a": 1}, [("space.lr", {"a": 1}, '{"a": 1} is not legal')]),
        ([1, math.inf], [("space.lr", [1, math.inf], "[1, Infinity] is not legal")]),
    ],
)
def test_fault_of_a_parameter_concerns_the_intended_form(
    parameter: object, expected: list[tuple[str, object, str]]
) -> None:
    assert faults(space={"lr": parameter}) == expected
    arms = [
        {"name": "a", "technique": "none"},
        {"name": "b", "technique": "none", "space": {"eta": parameter}},
    ]
    assert faults(arms=arms) == [
        (field.replace("space.lr", "arms.1.space.eta"), value, message)
        for field, value, message in expected
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"seed": -1}, ("seed", -1, "-1 is too small")),
        ({"seed": 2**48}, ("seed", 2**48, f"{2**48} is too large")),
        ({"seed": None}, ("seed", None, "null is not a whole number")),
        (
            {"search": {"n_trials": 1.5, "epochs": 3}},
            ("search.n_trials", 1.5, "1.5 is not a whole number"),
        ),
        ({"search": 5}, ("search", 5, "5 is not a mapping")),
        (
            {"search": {"n_trials": 4, "epochs": 3, "pruner": "hyper"}},
            ("search.pruner", "hyper", '"hyper" is not legal'),
        ),
        ({"description": "x" * 2001}, ("description", "x" * 2001, "is too long")),
        ({"space": {1: 2}}, ("space.1", 1, "is not a string")),
        ({"space": 7}, ("space", 7, "7 is not a mapping")),
        ({"arms": "two"}, ("arms", "two", '"two" is not a list')),
        (
            {"arms": [{"name": "a", "technique": "none"}]},
            ("arms", [{"name": "a", "technique": "none"}], "has too few entries"),
        ),
        ({"objective": 3}, ("objective", 3, "3 is not a string")),
        (
            {"confirm": {"n_seeds": 5, "looks": [9]}},
            ("confirm.looks", [9], "looks must be below n_seeds, but got 9"),
        ),
        (
            {"confirm": {"n_seeds": 5, "thresholds": [1, 1.0]}},
            ("confirm.thresholds", [1, 1], "thresholds must be unique"),
        ),
        (
            {"confirm": {}},
            (
                "confirm.n_seeds",
                None,
                "n_seeds and power are both missing",
            ),
        ),
        (
            {"confirm": {"n_seeds": 10**400}},
            ("confirm.n_seeds", 10**400, f"{'1' + 79 * '0'}… is too large"),
        ),
        (
            {"confirm": {"n_seeds": 9, "looks": [4, "x"]}},
            ("confirm.looks.1", "x", '"x" is not a whole number'),
        ),
    ],
)
def test_fault_names_path_value_and_cause(
    changes: dict[str, object], expected: tuple[str, object, str]
) -> None:
    assert faults(**changes) == [expected]


def test_fault_of_a_study_without_search_names_field_value_and_legal_values() -> None:
    sent = {name: value for name, value in BASE.items() if name != "search"} | {
        "confirm": {"n_seeds": 5, "epochs": 3}
    }
    sent |= {"space": {"lr": {"low": 0.1, "high": 0.3}}}
    with pytest.raises(ValidationError) as caught:
        StudySpec.model_validate(sent)
    assert [
        (fault.field, fault.value, fault.legal) for fault in spec_errors(caught.value, sent)
    ] == [
        (
            "space.lr",
            {"low": 0.1, "high": 0.3},
            "choices, a range with a step, or one value; or give a search",
        )
    ]


def test_misspelt_optional_field_is_reported_with_the_legal_fields() -> None:
    sent = BASE | {
        "search": {"n_trial": 4, "epochs": 3},
        "confirm": {"power": {"sd": 0.1, "pwer": 0.9}},
    }
    with pytest.raises(ValidationError) as caught:
        StudySpec.model_validate(sent)
    by_field = {f.field: (f.message, f.legal) for f in spec_errors(caught.value, sent)}
    message, legal = by_field["search.n_trial"]
    assert message.endswith("did you mean 'n_trials'?")
    assert legal == "one of the fields n_trials, repeats, epochs, sampler, pruner, lag, rerun"
    assert by_field["confirm.power.pwer"] == (
        "unknown field 'pwer'; did you mean 'power'?",
        "one of the fields power, sd, search_sd",
    )


@pytest.mark.parametrize(
    ("name", "entry"), [("looks", "a whole number"), ("thresholds", "a number")]
)
def test_fault_of_a_list_names_its_entries(name: str, entry: str) -> None:
    sent = BASE | {"confirm": {"n_seeds": 9, name: 5}}
    with pytest.raises(ValidationError) as caught:
        StudySpec.model_validate(sent)
    assert [fault.legal for fault in spec_errors(caught.value, sent)] == [
        f"a list, each {entry}, at most 10 entries"
    ]


ARM = {"name": "b", "technique": "none"}


@pytest.mark.parametrize(
    ("arm", "field", "value"),
    [
        (ARM | {"name": "a"}, "arms", ["a", "a"]),
        (ARM | {"space": {"lr": 1}}, "arms.1.space.lr", 1),
        (ARM | {"n_trials": 7}, "arms.1.n_trials", 7),
        (ARM | {"techniques": ["none"]}, "arms.1.techniques", ["none"]),
        ({"name": "b", "techniques": ["none"] * 2}, "arms.1.techniques", ["none", "none"]),
        (ARM | {"technique": 3}, "arms.1.technique", 3),
        (ARM | {"technique": None}, "arms.1.technique", None),
        (ARM | {"technique": ["none"]}, "arms.1.technique", ["none"]),
        ({"name": "b"}, "arms.1.techniques", None),
    ],
)
def test_fault_of_an_arm_names_its_field_and_value(
    arm: dict[str, object], field: str, value: object
) -> None:
    [fault] = faults(arms=[{"name": "a", "technique": "none"}, arm])
    assert fault[:2] == (field, value)


def test_fault_of_a_small_body_names_missing_and_unknown_fields() -> None:
    errors = [
        {"type": "missing", "loc": ("body", "seeds"), "input": {}, "msg": "Field required"},
        {"type": "extra_forbidden", "loc": ("body", "n"), "input": 2, "msg": "not permitted"},
    ]
    shown = [(f.field, f.value, f.message, f.legal) for f in request_errors(errors)]
    assert shown == [
        ("seeds", None, "is missing", "a value"),
        ("n", 2, "unknown field 'n'", "left out"),
    ]


def test_an_extension_cannot_change_the_boundary() -> None:
    with pytest.raises(ValidationError) as caught:
        ExtensionIn.model_validate({"seeds": 12, "anytime": True})
    [fault] = request_errors(
        [{**error, "loc": ("body", *error["loc"])} for error in caught.value.errors()]
    )
    assert (fault.field, fault.value, fault.legal) == ("anytime", True, "left out")


def test_fault_of_a_whole_body_names_what_is_legal() -> None:
    with pytest.raises(ValidationError) as caught:
        ExtensionIn.model_validate({"seeds": 12, "epochs": 3})
    errors = [{**error, "loc": ("body", *error["loc"])} for error in caught.value.errors()]
    [fault] = request_errors(errors)
    assert (fault.field, fault.legal) == ("body", "either seeds or epochs")


@pytest.mark.parametrize(
    ("query", "legal"),
    [
        ("text=" + "a" * 201, "at most 200 characters"),
        ("limit=0", "greater than or equal to 1"),
        ("limit=x", "a valid integer, unable to parse string as an integer"),
    ],
)
def test_fault_of_a_query_names_what_is_legal(client: TestClient, query: str, legal: str) -> None:
    [fault] = client.get(f"/v1/studies?{query}").json()["errors"]
    assert fault["legal"] == legal


def patterns(schema: object) -> set[str]:
    if isinstance(schema, dict):
        own = {schema["pattern"]} if isinstance(schema.get("pattern"), str) else set()
        return own.union(*map(patterns, schema.values()))
    return set().union(*map(patterns, schema)) if isinstance(schema, list) else set()


def test_every_pattern_has_a_description() -> None:
    """No regular expression is shown."""
    described = (StudySpec, TokenIn, Remarks)
    assert set.union(*(patterns(model.model_json_schema()) for model in described)) == set(PATTERNS)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=x",
        "before=0",
        "before=99999999999999999999",
        "state=lost",
        "name=%00",
    ],
)
def test_illegal_query_is_refused(client: TestClient, query: str) -> None:
    answer = client.get(f"/v1/studies?{query}")
    assert (answer.status_code, answer.json()["type"]) == (422, "/docs#invalid-request")
    assert answer.json()["errors"][0]["field"] == query.split("=")[0]
    assert answer.json()["errors"][0]["legal"]
