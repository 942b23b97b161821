"""Workloads, techniques and optimizers are shown as the workers announced them."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from gradnoise_service.store import catalogues
from gradnoise_service.store.database import Database

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_workloads_have_options_metrics_and_parameters(
    client: TestClient, catalogue_document: Mapping[str, Any]
) -> None:
    [workload] = client.get("/v1/workloads").json()["items"]
    announced = catalogue_document["workloads"][0]
    assert {name: workload[name] for name in announced} == announced


def publish_broken(database: Database, document: Mapping[str, Any], now: datetime) -> None:
    """Announce a workload and a technique that cannot be used, one of a name that is taken."""
    broken = [
        {
            "kind": "workload",
            "name": "mine",
            "value": "mine:train",
            "package": "pack 1",
            "error": "ImportError: no <such> module",
        },
        {
            "kind": "technique",
            "name": "annealed",
            "value": "other:annealed",
            "package": "other 2",
            "error": "ValueError: gradnoise 0.1.0 has the name 'annealed' already",
        },
    ]
    with database.session(write=True) as session:
        catalogues.publish(session, {**document, "broken": broken}, now)


def test_broken_packages_are_listed_and_named_by_a_submission(
    client: TestClient,
    database: Database,
    catalogue_document: Mapping[str, Any],
    plain_spec: dict[str, Any],
    now: datetime,
) -> None:
    assert client.get("/v1/workloads").json()["broken"] == []
    publish_broken(database, catalogue_document, now)
    first, second = client.get("/v1/workloads").json()["broken"]
    assert (first["kind"], first["name"], first["package"]) == ("workload", "mine", "pack 1")
    refused = client.post("/v1/studies", json={**plain_spec, "workload": "mine"})
    assert refused.status_code == 422
    assert "ImportError: no <such> module" in refused.json()["errors"][0]["message"]
    submitted = client.post("/v1/studies", json=plain_spec)
    assert submitted.status_code == 201
    assert (
        "Another package also declares the technique 'annealed', and the study does not use it: "
        f"other:annealed of other 2 ({second['error']})." in submitted.json()["warnings"]
    )


def test_techniques_and_optimizers_have_formula_and_bounds(client: TestClient) -> None:
    shown = client.get("/v1/techniques").json()
    assert [technique["name"] for technique in shown["items"]] == ["none", "annealed"]
    assert shown["items"][1]["required"] == ["eta", "gamma"]
    assert (shown["items"][1]["formula"], shown["items"][1]["source"]) == (
        "sigma_t^2 = eta / (1 + t)^gamma",
        "arXiv:1511.06807",
    )
    lr, _, rate, every = shown["optimizers"][0]["parameters"]
    assert (lr["low"], lr["high"], lr["low_open"], lr["integer"], lr["choices"]) == (
        0.0,
        None,
        True,
        False,
        [],
    )
    assert rate["choices"] == ["constant", "step"]
    rule = shown["optimizers"][0]["rules"][0]
    assert (rule["kind"], rule["field"]) == ("needs", "lr_every_epochs")
    assert rule["when"] == [{"field": "lr_schedule", "values": ["step"], "other_than": []}]
    assert (every["low"], every["integer"]) == (1, True)


@pytest.mark.parametrize("path", ["/v1/workloads", "/v1/techniques"])
def test_request_before_the_first_worker_is_503(
    make_client: Callable[..., TestClient], path: str
) -> None:
    assert make_client().get(path).status_code == 503
