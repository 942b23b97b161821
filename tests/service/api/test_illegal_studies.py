"""Illegal studies are refused with every fault: field, value and what is legal."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from api_fixtures import n_stored
from gradnoise_service.store.database import Database


@pytest.mark.parametrize(
    ("confirm", "field", "words"),
    [
        ({}, "confirm.n_seeds", "n_seeds and power are both missing"),
        (
            {"n_seeds": 9_000, "looks": [12]},
            "confirm.looks",
            "no verdict is possible at 12 seeds",
        ),
        ({"power": {"power": 0.98, "sd": 0.1}}, "confirm.power", "0.98"),
        ({"power": {"sd": 1e9}}, "confirm.power", "sd"),
        ({"power": {"sd": -1}}, "confirm.power.sd", "too small"),
        ({"power": {"sd": 5.0}}, "search.n_trials", "more than this service allows"),
        ({"n_seeds": 5, "thresholds": "high"}, "confirm.thresholds", "not a list"),
        ({"n_seeds": 12, "looks": [6, 9]}, "confirm.looks", "no verdict is possible at 6 seeds"),
        (
            {"power": {"sd": 0.02}, "looks": [900]},
            "confirm.looks",
            "looks must be below n_seeds",
        ),
        (
            {"n_seeds": 24, "looks": [12], "anytime": True},
            "confirm.anytime",
            "anytime and looks exclude each other",
        ),
        ({"power": {"sd": 0.1}, "anytime": True}, "confirm.anytime", "too few for anytime"),
        ({"n_seeds": 24, "anytime": "always"}, "confirm.anytime", "always"),
    ],
)
def test_illegal_power_threshold_or_look_is_refused(
    client: TestClient,
    database: Database,
    plain_spec: dict[str, Any],
    confirm: dict[str, Any],
    field: str,
    words: str,
) -> None:
    answer = client.post("/v1/studies", json=plain_spec | {"confirm": confirm})
    assert answer.status_code == 422
    [fault] = answer.json()["errors"]
    assert fault["field"] == field
    assert words in fault["message"]
    assert n_stored(database) == 0


REFUSED: list[tuple[dict[str, Any], str, Any, str]] = [
    ({"workload": "nope"}, "workload", "nope", "one of mlp"),
    ({"objective": "f1"}, "objective", "f1", "one of accuracy, loss"),
    ({"optimizer": "lion"}, "optimizer", "lion", "one of adam, sgd"),
    ({"options": {"dataset": "cifar"}}, "options.dataset", "cifar", "digits"),
    ({"options": {"width": 3}}, "options.width", 3, "one of dataset, depth"),
    ({"options": {"depth": 0}}, "options.depth", 0, "1"),
    (
        {"space": {"lr": 0.1, "beta": 0.9}},
        "space.beta",
        0.9,
        "one of lr, lr_every_epochs, lr_schedule, momentum",
    ),
    ({"space": {"momentum": 0.9}}, "space.lr", None, "a number in (0, inf)"),
    ({"space": {}}, "space.lr", None, "a number in (0, inf)"),
    ({"space": {"lr": {"choices": []}}}, "space.lr.choices", [], "a list, not empty"),
    (
        {"space": {"lr": {"low": 1, "high": 0.1}}},
        "space.lr",
        {"low": 1, "high": 0.1},
        "low below high",
    ),
    (
        {"space": {"lr": {"low": 0, "high": 1, "log": True}}},
        "space.lr",
        {"low": 0, "high": 1, "log": True},
        "low above 0",
    ),
    ({"space": {"lr": {"low": 0.1}}}, "space.lr.high", None, "a number"),
    ({"space": {"lr": [0.1, 0.2]}}, "space.lr", [0.1, 0.2], "as choices: [0.1, 0.2]"),
    ({"space": {"lr": "fast"}}, "space.lr", "fast", "a number in (0, inf)"),
    ({"search": {"n_trials": 20_000, "epochs": 3}}, "search.n_trials", 20_000, "at most 20000"),
    ({"search": {"n_trials": 10**400, "epochs": 3}}, "search.n_trials", None, "1e100"),
    (
        {"search": {"n_trials": "many", "epochs": 3}},
        "search.n_trials",
        "many",
        "a whole number, at least 1",
    ),
    (
        {"search": {"n_trials": 4, "epochs": 3, "sampler": "magic"}},
        "search.sampler",
        "magic",
        "one of tpe, random, grid, qmc, gp, cmaes",
    ),
    (
        {"search": {"n_trials": 4, "epochs": 3, "sampler": "grid"}},
        "space.lr",
        {"low": 0.003, "high": 0.3, "log": True},
        "choices",
    ),
    ({"confirm": {"n_seeds": 1}}, "confirm.n_seeds", 1, "a whole number, at least 2"),
    ({"arms": [{"name": "a", "technique": "none"}] * 2}, "arms", ["a", "a"], "different names"),
    (
        {"arms": [{"name": "a", "technique": "none"}, {"name": "b", "technique": "magic"}]},
        "arms.1.technique",
        "magic",
        "one of annealed, none",
    ),
    (
        {"arms": [{"name": "a", "technique": "none"}, {"name": "b", "technique": "annealed"}]},
        "arms.1.space.eta",
        None,
        "a number in [0, inf)",
    ),
    ({"smallest_difference": "big"}, "smallest_difference", "big", "a number, above 0"),
    ({"name": "../../etc/passwd"}, "name", "../../etc/passwd", "1 to 80 letters"),
    ({"sede": 1}, "sede", 1, "one of the fields name"),
]


@pytest.mark.parametrize(
    ("changes", "field", "value", "legal"), REFUSED, ids=lambda case: str(case)[:40]
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_illegal_study_is_refused_with_field_value_and_legal_values(
    client: TestClient,
    database: Database,
    plain_spec: dict[str, Any],
    changes: dict[str, Any],
    field: str,
    value: Any,
    legal: str,
) -> None:
    answer = client.post("/v1/studies", json=plain_spec | changes)
    assert (answer.status_code, answer.json()["type"]) == (422, "/docs#invalid-study")
    fault = next(fault for fault in answer.json()["errors"] if fault["field"] == field)
    assert value is None or fault["value"] == value
    assert legal in fault["legal"]
    assert fault["message"]
    assert n_stored(database) == 0


def test_every_fault_is_reported_at_once(client: TestClient, plain_spec: dict[str, Any]) -> None:
    answer = client.post(
        "/v1/studies", json=plain_spec | {"seed": -1, "confirm": {"n_seeds": 0}, "sede": 1}
    )
    assert {fault["field"] for fault in answer.json()["errors"]} == {
        "seed",
        "confirm.n_seeds",
        "sede",
    }
