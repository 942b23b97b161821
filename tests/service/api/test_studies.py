"""Studies over HTTP: submitted, listed in pages, shown, cancelled."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from gradnoise_service.store import studies
from gradnoise_service.store.database import Database


def n_stored(database: Database) -> int:
    with database.session() as session:
        return len(studies.page(session, owner=None, before=None, limit=100))


def test_submitted_study_is_read_back(client: TestClient, plain_spec: dict[str, Any]) -> None:
    answer = client.post("/v1/studies", json=plain_spec)
    assert answer.status_code == 201
    study = answer.json()
    assert (study["state"], study["owner"], study["name"], study["workload"], study["verdict"]) == (
        "queued",
        "local",
        "a study",
        "mlp",
        None,
    )
    assert study["metric"]["name"] == "accuracy"
    assert study["spec"]["space"] == {
        "lr": {"low": 0.003, "high": 0.3, "log": True, "step": None, "integer": False}
    }
    assert answer.headers["location"] == study["links"]["self"] == f"/v1/studies/{study['id']}"
    assert client.get(answer.headers["location"]).json() == study | {"plan": None}


def test_yaml_is_accepted(client: TestClient) -> None:
    text = """
    name: by hand
    workload: mlp
    smallest_difference: 0.02
    space: {lr: {low: 1e-3, high: 0.3, log: true}}
    search: {n_trials: 4, epochs: 3, pruner: median}
    confirm: {n_seeds: 5}
    seed: 1
    """
    answer = client.post(
        "/v1/studies", content=text, headers={"Content-Type": "application/yaml; charset=utf-8"}
    )
    assert answer.status_code == 201
    assert answer.json()["spec"]["space"]["lr"]["low"] == 0.001
    assert answer.json()["spec"]["search"]["pruner"]["name"] == "median"


def test_same_key_submits_once(
    client: TestClient, database: Database, plain_spec: dict[str, Any]
) -> None:
    first = client.post("/v1/studies", json=plain_spec, headers={"Idempotency-Key": "k"})
    again = client.post("/v1/studies", json=plain_spec, headers={"Idempotency-Key": "k"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    other = client.post(
        "/v1/studies", json=plain_spec | {"seed": 2}, headers={"Idempotency-Key": "k"}
    )
    assert (other.status_code, other.json()["type"]) == (409, "/docs#key-reused")
    assert n_stored(database) == 1


def test_a_study_is_returned_with_what_it_cannot_show(
    client: TestClient, plain_spec: dict[str, Any]
) -> None:
    seeds = {"confirm": {"n_seeds": 6}}
    small = client.post("/v1/studies", json=plain_spec | seeds).json()
    assert len(small["warnings"]) == 2
    assert client.get(small["links"]["self"]).json()["warnings"] == small["warnings"]
    enough = {"name": "enough", "search": plain_spec["search"] | {"n_trials": 30}}
    assert client.post("/v1/studies", json=plain_spec | seeds | enough).json()["warnings"] == []


def test_a_dry_run_returns_plan_cost_and_power_and_stores_nothing(
    client: TestClient, database: Database, plain_spec: dict[str, Any], workshop: Any
) -> None:
    """The cost follows from earlier trials: 2 took 3 epochs and 1.5 s each."""
    dry = client.post("/v1/studies?dry_run=true", json=plain_spec)
    assert (dry.status_code, "location" in dry.headers, n_stored(database)) == (200, False, 0)
    plan = dry.json()["plan"]
    assert plan["n_trials"] == 2 * (4 + 5)
    assert (plan["n_epochs"], plan["device_seconds"]) == (54, None)
    assert "cannot be detected reliably" in plan["power"]
    running = workshop.running(2)
    assert client.post("/v1/studies", json=plain_spec).json()["plan"] == plan | {
        "device_seconds": 54 * 0.5
    }
    shown = client.get(f"/v1/studies/{running.id + 1}").json()
    assert shown["plan"] is None
    assert shown["queue"] == {"place": 1, "n_running": 1, "n_dispatchers": 0}
    assert client.get(f"/v1/studies/{running.id}").json()["queue"] is None
    assert client.post("/v1/studies?dry_run=true", json=plain_spec).status_code == 409


def test_concurrent_requests_with_the_same_key_submit_once(
    client: TestClient, database: Database, plain_spec: dict[str, Any]
) -> None:
    """Every thread gets the same study."""
    barrier, answers = threading.Barrier(4), []

    def send() -> None:
        barrier.wait()
        answers.append(
            client.post("/v1/studies", json=plain_spec, headers={"Idempotency-Key": "k"})
        )

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert n_stored(database) == 1


def test_taken_name_is_refused_with_a_free_name(
    client: TestClient, plain_spec: dict[str, Any]
) -> None:
    client.post("/v1/studies", json=plain_spec)
    refused = client.post("/v1/studies", json=plain_spec)
    assert (refused.status_code, refused.json()["free_name"]) == (409, "a study-2")
    assert (
        client.post(
            "/v1/studies", json=plain_spec | {"name": refused.json()["free_name"]}
        ).status_code
        == 201
    )


def test_failed_commit_is_500(
    client: TestClient, database: Database, plain_spec: dict[str, Any]
) -> None:
    """The answer does not reveal the cause."""

    def fail(_session: Session) -> None:
        raise OSError("the disk of /var/lib is full")

    event.listen(Session, "before_commit", fail)
    try:
        answer = client.post("/v1/studies", json=plain_spec)
    finally:
        event.remove(Session, "before_commit", fail)
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "disk" not in answer.text
    assert n_stored(database) == 0
    assert client.post("/v1/studies", json=plain_spec).status_code == 201


def test_seeds_are_computed_from_power(client: TestClient, plain_spec: dict[str, Any]) -> None:
    """The stored study has the number and can be submitted again; a different number is refused."""
    power = {"power": 0.8, "sd": 0.05, "search_sd": None}
    wanted = plain_spec | {
        "smallest_difference": 0.05,
        "confirm": {"power": power, "thresholds": [0.9]},
    }
    study = client.post("/v1/studies", json=wanted, headers={"Idempotency-Key": "k"}).json()
    left_out = {"epochs": None, "looks": [], "drop": None, "anytime": False}
    left_out |= {"boundary": "obrien_fleming"}
    assert (
        study["spec"]["confirm"] == {"n_seeds": 11, "power": power, "thresholds": [0.9]} | left_out
    )
    assert (
        client.post("/v1/studies", json=wanted, headers={"Idempotency-Key": "k"}).json()["id"]
        == study["id"]
    )
    assert client.post("/v1/studies", json=study["spec"] | {"name": "again"}).status_code == 201
    refused = client.post(
        "/v1/studies", json=wanted | {"confirm": {"n_seeds": 9, "power": power}}
    ).json()
    assert [(fault["field"], fault["value"]) for fault in refused["errors"]] == [
        ("confirm.n_seeds", 9)
    ]
    assert "requires 11 seeds" in refused["errors"][0]["message"]


@pytest.mark.parametrize(
    ("confirm", "field", "words"),
    [
        ({}, "confirm.n_seeds", "n_seeds and power are both missing"),
        (
            {"n_seeds": 1_000_000, "looks": [12]},
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


def test_pages_show_every_study_once_newest_first(client: TestClient, workshop: Any) -> None:
    ids = [workshop.queued().id for _ in range(5)]
    address, seen = "/v1/studies?limit=2", []
    while address:
        page = client.get(address).json()
        seen += [study["id"] for study in page["items"]]
        address = page["next"]
    assert seen == ids[::-1]


def test_page_that_is_exactly_full_is_the_last(client: TestClient, workshop: Any) -> None:
    for _ in range(2):
        workshop.queued()
    assert client.get("/v1/studies?limit=2").json()["next"] is None


def test_studies_are_filtered_by_state_and_name(client: TestClient, workshop: Any) -> None:
    cancelled, queued = workshop.queued(name="one"), workshop.queued(name="two")
    workshop.cancel(cancelled)
    other = workshop.queued(name="three")
    assert [study["id"] for study in client.get("/v1/studies?state=cancelled").json()["items"]] == [
        cancelled.id
    ]
    page = client.get("/v1/studies?state=queued&limit=1").json()
    assert [study["id"] for study in page["items"]] == [other.id]
    assert [study["id"] for study in client.get(page["next"]).json()["items"]] == [queued.id]
    assert [study["id"] for study in client.get("/v1/studies?name=two").json()["items"]] == [
        queued.id
    ]
    assert client.get("/v1/studies?name=four").json() == {"items": [], "next": None}


def test_progress_counts_each_arm_in_each_phase(client: TestClient, workshop: Any) -> None:
    study = workshop.running(n_ended=3)
    progress = client.get(f"/v1/studies/{study.id}/progress").json()
    assert progress["state"] == "running"
    shown = [
        (arm["phase"], arm["arm"], arm["n_ended"], arm["n_running"], arm["n_trials"])
        for arm in progress["arms"]
    ]
    assert shown == [
        ("search", "baseline", 2, 0, 4),
        ("search", "noisy", 1, 1, 4),
        ("confirm", "baseline", 0, 0, 5),
        ("confirm", "noisy", 0, 0, 5),
    ]
    assert progress["arms"][0]["best_value"] == 0.52
    assert progress["seconds_left"] > 0


def test_study_is_cancelled_once(client: TestClient, workshop: Any) -> None:
    study = workshop.running()
    cancelled = client.post(f"/v1/studies/{study.id}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    again = client.post(f"/v1/studies/{study.id}/cancel")
    assert (again.status_code, again.json()["type"]) == (409, "/docs#study-finished")


@pytest.mark.parametrize(
    "path", ["", "/progress", "/trials", "/trials/1/measurements", "/events", "/report"]
)
def test_unknown_study_is_404(client: TestClient, path: str) -> None:
    answer = client.get(f"/v1/studies/7{path}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["detail"] == "There is no study 7."


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
    ({"space": {"lr": [0.1, 0.2]}}, "space.lr", [0.1, 0.2], "choices {choices: [...]}"),
    ({"space": {"lr": "fast"}}, "space.lr", "fast", "a number in (0, inf)"),
    ({"search": {"n_trials": 20_000, "epochs": 3}}, "search.n_trials", 20_000, "at most 20000"),
    ({"search": {"n_trials": 10**400, "epochs": 3}}, "search.n_trials", None, "at most 20000"),
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


def test_submission_before_the_first_worker_is_503(
    make_client: Callable[..., TestClient], plain_spec: dict[str, Any]
) -> None:
    answer = make_client().post("/v1/studies", json=plain_spec)
    assert (answer.status_code, answer.json()["type"]) == (503, "/docs#no-workers")
    assert int(answer.headers["retry-after"]) > 0
