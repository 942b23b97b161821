"""Suites are listed to their owner, and have one answer over their studies in three formats."""

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from api_fixtures import ADMIN_TOKEN
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.store.database import Database
from gradnoise_service.store.tables import StudyRow
from suite_studies import suite_of

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
Make = Callable[..., StudySpec]


@pytest.fixture
def complete(database: Database, workshop: Any, make_spec: Make) -> None:
    """The suite `several` of three complete studies."""
    for study, comparison in suite_of(make_spec, 0.06, 0.07, 0.08):
        assert comparison is not None
        fields = study.spec.model_dump(mode="json", exclude={"name"})
        queued = workshop.queued(name=study.spec.name, **fields)
        with database.session(write=True) as session:
            row = session.get_one(StudyRow, queued.id)
            row.state, row.comparison = "complete", comparison.model_dump(mode="json")


@pytest.mark.usefixtures("complete")
def test_the_answer_is_over_the_suite_s_studies(client: TestClient) -> None:
    [listed] = client.get("/v1/suites").json()["items"]
    assert (listed["name"], listed["owner"], listed["n_studies"], listed["n_ended"]) == (
        *("several", "local", 3, 3),
    )
    answer = client.get(listed["links"]["self"]).json()
    assert answer["verdict"] == "helps"
    assert answer["sentence"].startswith("noisy helps on average over these workloads: mean effect")
    assert [e["study"] for e in answer["answers"][0]["effects"]] == [
        *("workload 1", "workload 2", "workload 3"),
    ]


@pytest.mark.parametrize(
    ("accept", "content_type", "start"),
    [
        ("*/*", "application/json", '{"name":"several"'),
        ("text/html", "text/html; charset=utf-8", "<!doctype html>"),
        ("text/markdown", "text/markdown; charset=utf-8", "# several"),
    ],
)
@pytest.mark.usefixtures("complete")
def test_accept_or_format_selects_the_format(
    client: TestClient, accept: str, content_type: str, start: str
) -> None:
    answer = client.get("/v1/suites/several", headers={"Accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, content_type)
    assert answer.headers["vary"] == "Accept"
    assert answer.text.startswith(start)
    assert client.get("/v1/suites/several?format=md").text.startswith("# several")
    assert client.get("/v1/suites/several", headers={"Accept": "text/csv"}).status_code == 406


def test_an_unknown_suite_is_not_found(client: TestClient) -> None:
    answer = client.get("/v1/suites/nothing")
    assert (answer.status_code, answer.json()["detail"]) == (
        404,
        "There is no suite named 'nothing'.",
    )
    assert client.get("/v1/suites").json()["items"] == []
    illegal = client.get("/v1/suites/a%00b")
    assert (illegal.status_code, illegal.json()["errors"][0]["field"]) == (422, "name")


def test_a_suite_that_runs_has_no_verdict(client: TestClient, plain_spec: dict[str, Any]) -> None:
    for name in ("one", "two"):
        assert client.post("/v1/studies", json=plain_spec | {"name": name, "suite": "s 1"}).json()[
            "spec"
        ]["suite"] == ("s 1")
    [listed] = client.get("/v1/suites").json()["items"]
    answer = client.get(listed["links"]["self"]).json()
    assert (answer["verdict"], answer["answers"][0]["no_verdict"]) == ("undecided", "waiting")
    assert "0 of 2 studies have ended" in answer["sentence"]


def test_a_study_with_other_arms_is_refused(client: TestClient, plain_spec: dict[str, Any]) -> None:
    """Names and techniques must match, in order; the spaces of the arms may differ."""
    first = plain_spec | {"suite": "several"}
    assert client.post("/v1/studies", json=first).status_code == 201
    arms = [
        {"name": "baseline", "technique": "none"},
        {"name": "noisy", "technique": "annealed", "space": {"eta": 0.1, "gamma": 0.55}},
    ]
    narrower = client.post("/v1/studies", json=first | {"name": "b", "arms": arms})
    assert narrower.status_code == 201
    arms[1]["name"] = "noise"
    refused = client.post("/v1/studies", json=first | {"name": "c", "arms": arms})
    assert refused.status_code == 422
    [fault] = refused.json()["errors"]
    assert (fault["field"], fault["value"]) == ("arms", ["baseline (none)", "noise (annealed)"])
    assert "baseline (none), noisy (annealed)" in fault["legal"]


def test_suites_of_two_owners_share_nothing_but_the_name(
    make_client: Callable[..., TestClient],
    announced: None,
    workshop: Any,
    plain_spec: dict[str, Any],
) -> None:
    """An administrator sees both, each by its owner."""
    workshop.queued(owner="ada", suite="several")
    admin = make_client(ADMIN_TOKEN, host="0.0.0.0", admin_token=ADMIN_TOKEN)
    body = {"name": "bob", "owner": "bob", "scopes": ["read", "submit"]}
    token = admin.post("/v1/tokens", json=body).json()["token"]
    bob = make_client(token, host="0.0.0.0", admin_token=ADMIN_TOKEN)
    assert bob.get("/v1/suites").json()["items"] == []
    assert bob.get("/v1/suites/several").status_code == 404
    assert admin.get("/v1/suites/several").status_code == 200
    assert bob.post("/v1/studies", json=plain_spec | {"suite": "several"}).status_code == 201
    both = admin.get("/v1/suites").json()["items"]
    assert [suite["owner"] for suite in both] == ["ada", "bob"]
    ambiguous = admin.get("/v1/suites/several")
    assert (ambiguous.status_code, ambiguous.json()["type"]) == (409, "/docs#ambiguous-name")
    for suite in both:
        for link in ("self", "page"):
            assert admin.get(suite["links"][link]).status_code == 200
    assert bob.get("/v1/suites/several?owner=ada").status_code == 404
