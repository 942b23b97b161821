"""Studies over HTTP: submitted, listed in pages, shown, cancelled."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from api_fixtures import n_stored
from gradnoise_service.store.database import Database, DriverTransaction


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
    assert shown["queue"] == {
        "place": 1,
        "n_running": 1,
        "n_dispatchers": 0,
        "lacks": None,
        "faults": [],
    }
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
    client: TestClient,
    database: Database,
    plain_spec: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The answer does not reveal the cause."""

    def fail(_transaction: DriverTransaction) -> None:
        raise OSError("the disk of /var/lib is full")

    with monkeypatch.context() as patch:
        patch.setattr(DriverTransaction, "commit", fail)
        answer = client.post("/v1/studies", json=plain_spec)
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
    left_out |= {"boundary": "obrien_fleming", "keep_weights": "none"}
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


def test_tags_and_note_change_in_any_state_and_filter_the_list(
    client: TestClient, workshop: Any
) -> None:
    studies = [workshop.queued(name=name) for name in ("one", "two", "three")]
    workshop.cancel(studies[0])
    for study in studies[:2]:
        address = f"/v1/studies/{study.id}"
        before = client.get(address).json()
        changed = client.patch(address, json={"tags": ["b", "a"], "note": "first\nsecond"})
        assert changed.json() == before | {"tags": ["a", "b"], "note": "first\nsecond"}
    assert client.patch(address, json={"note": ""}).json()["tags"] == ["a", "b"]
    page = client.get("/v1/studies?tag=a&text=o&workload=mlp&owner=local&limit=1").json()
    assert [study["name"] for study in page["items"]] == ["two"]
    rest = client.get(page["next"]).json()
    assert ([study["name"] for study in rest["items"]], rest["next"]) == (["one"], None)
    for body, field in (
        ({"tags": ["Thesis"]}, "tags.0"),
        ({"tags": ["a"] * 21}, "tags"),
        ({"tags": "a"}, "tags"),
        ({"note": "\x1b[2J"}, "note"),
        ({"note": 1}, "note"),
        ({"name": "other"}, "name"),
    ):
        refused = client.patch(address, json=body)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, field), body
    assert client.patch("/v1/studies/9", json={"note": ""}).status_code == 404


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


def test_a_study_that_does_not_run_is_deleted(client: TestClient, workshop: Any) -> None:
    running, queued = workshop.running(), workshop.queued()
    refused = client.delete(f"/v1/studies/{running.id}")
    assert (refused.status_code, refused.json()["type"]) == (409, "/docs#study-running")
    workshop.cancel(running)
    for study in (running, queued):
        deleted = client.delete(f"/v1/studies/{study.id}")
        assert (deleted.status_code, deleted.content) == (204, b"")
        assert client.delete(f"/v1/studies/{study.id}").status_code == 204
        assert client.get(f"/v1/studies/{study.id}").status_code == 404
    assert client.delete("/v1/studies/99").status_code == 404
    assert client.get("/v1/studies").json()["items"] == []


def test_a_clone_can_be_submitted_as_it_is(client: TestClient, plain_spec: dict[str, Any]) -> None:
    power = {"power": 0.8, "sd": 0.05}
    declared = plain_spec | {"smallest_difference": 0.05, "confirm": {"power": power}}
    first = client.post("/v1/studies", json=declared).json()
    address = f"/v1/studies/{first['id']}/clone"
    copied = client.get(address).json()
    assert (copied["name"], copied["confirm"]) == ("a study-2", {"power": {"sd": 0.05}})
    assert [arm["name"] for arm in copied["arms"]] == ["baseline", "noisy"]
    text = client.get(address, headers={"Accept": "application/yaml"}).text
    assert text == client.get(address + "?format=yaml").text
    yaml = {"Content-Type": "application/yaml"}
    second = client.post("/v1/studies", content=text, headers=yaml).json()
    assert second["spec"] == first["spec"] | {"name": "a study-2"}
    assert client.get(address).json()["name"] == "a study-3"


@pytest.mark.parametrize(
    "path", ["", "/progress", "/trials", "/trials/1/measurements", "/events", "/report"]
)
def test_unknown_study_is_404(client: TestClient, path: str) -> None:
    answer = client.get(f"/v1/studies/7{path}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["detail"] == "There is no study 7."


def test_submission_before_the_first_worker_is_503(
    make_client: Callable[..., TestClient], plain_spec: dict[str, Any]
) -> None:
    answer = make_client().post("/v1/studies", json=plain_spec)
    assert (answer.status_code, answer.json()["type"]) == (503, "/docs#no-workers")
    assert int(answer.headers["retry-after"]) > 0
