"""Tokens are created, listed without the secret, and revoked."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def admin(make_client: Callable[..., TestClient]) -> TestClient:
    return make_client("secret", host="0.0.0.0", admin_token="secret")


def test_token_is_created_used_listed_and_revoked(admin: TestClient, now: datetime) -> None:
    created = admin.post("/v1/tokens", json={"name": "laptop", "owner": "ada"})
    assert (created.status_code, created.json()["scopes"]) == (201, ["read", "submit"])
    bearer = {"Authorization": f"Bearer {created.json()['token']}"}
    assert admin.get("/v1/studies", headers=bearer).status_code == 200
    assert admin.get("/v1/tokens", headers=bearer).status_code == 403
    [listed] = admin.get("/v1/tokens").json()["items"]
    assert listed == {name: value for name, value in created.json().items() if name != "token"}
    assert (datetime.fromisoformat(listed["expires_at"]) - now).days == 90
    assert admin.delete("/v1/tokens/laptop").status_code == 204
    assert admin.get("/v1/studies", headers=bearer).status_code == 401
    assert admin.delete("/v1/tokens/laptop").status_code == 404


def test_token_may_have_no_expiry(admin: TestClient) -> None:
    assert (
        admin.post("/v1/tokens", json={"name": "ci", "owner": "ci", "days": None}).json()[
            "expires_at"
        ]
        is None
    )


def test_name_of_a_token_is_unique(admin: TestClient) -> None:
    assert [
        admin.post("/v1/tokens", json={"name": "x", "owner": "ada"}).status_code for _ in range(2)
    ] == [201, 409]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "a/b"}, "name"),
        ({"owner": ""}, "owner"),
        ({"scopes": ["root"]}, "scopes.0"),
        ({"scopes": []}, "scopes"),
        ({"days": 0}, "days"),
        ({"extra": 1}, "extra"),
    ],
)
def test_illegal_token_is_refused(admin: TestClient, changes: dict[str, Any], field: str) -> None:
    answer = admin.post("/v1/tokens", json={"name": "x", "owner": "ada"} | changes)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert admin.get("/v1/tokens").json()["items"] == []


def test_malformed_json_is_refused(admin: TestClient) -> None:
    answer = admin.post("/v1/tokens", content="{", headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["type"]) == (400, "/docs#malformed")
