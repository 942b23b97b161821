"""Permissions follow from a token's scopes and owner; on loopback no token is required."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from gradnoise_service.store import tokens
from gradnoise_service.store.database import Database
from gradnoise_service.store.tokens import Scope

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


ADMIN = "an-admin-token"
MakeClient = Callable[..., TestClient]
MakeToken = Callable[..., str]


@pytest.fixture
def make_token(database: Database, now: datetime) -> MakeToken:
    def make(owner: str, *scopes: Scope, expires_at: datetime | None = None) -> str:
        with database.session(write=True) as session:
            return tokens.create(
                session,
                owner=owner,
                scopes=scopes,
                name=f"{owner}-{'-'.join(scopes)}",
                expires_at=expires_at,
                now=now,
            )

    return make


def test_no_token_is_required_on_loopback(client: TestClient) -> None:
    assert client.get("/v1/studies").status_code == 200
    assert client.get("/v1/tokens").status_code == 200


@pytest.mark.parametrize("settings", [{"host": "0.0.0.0"}, {"admin_token": ADMIN}])
def test_token_is_required_elsewhere_or_with_an_admin_token(
    make_client: MakeClient, settings: dict[str, Any]
) -> None:
    answer = make_client(**settings).get("/v1/studies")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["hint"]


@pytest.mark.parametrize(
    "header", ["Bearer nonsense", "Bearer ", "Basic YTpi", "nonsense", "Bearer é"]
)
def test_wrong_token_is_refused(make_client: MakeClient, header: str) -> None:
    client = make_client(host="0.0.0.0", admin_token=ADMIN)
    assert client.get("/v1/studies", headers={"Authorization": header.encode()}).status_code == 401


def test_admin_token_has_every_scope(make_client: MakeClient) -> None:
    assert (
        make_client(ADMIN, host="0.0.0.0", admin_token=ADMIN).get("/v1/tokens").status_code == 200
    )


def test_stored_token_works_until_it_expires(
    make_client: MakeClient, make_token: MakeToken, now: datetime
) -> None:
    """The app's clock advances by a second at each reading."""
    client = make_client(
        make_token("ada", "read", expires_at=now + timedelta(seconds=2)), host="0.0.0.0"
    )
    assert [client.get("/v1/studies").status_code for _ in range(3)] == [200, 401, 401]


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        (["read"], {"GET /v1/studies"}),
        (["submit"], {"POST /v1/studies/1/cancel"}),
        (["read", "submit"], {"GET /v1/studies", "POST /v1/studies/1/cancel"}),
        (["admin"], {"GET /v1/studies", "POST /v1/studies/1/cancel", "GET /v1/tokens"}),
    ],
)
def test_scopes_limit_the_methods(
    make_client: MakeClient, make_token: MakeToken, scopes: Sequence[Scope], allowed: set[str]
) -> None:
    client = make_client(make_token("ada", *scopes), host="0.0.0.0")
    tried = {
        line: client.request(*line.split()).status_code
        for line in ("GET /v1/studies", "POST /v1/studies/1/cancel", "GET /v1/tokens")
    }
    assert {line for line, status in tried.items() if status != 403} == allowed


def test_study_of_another_owner_is_not_found(
    make_client: MakeClient, make_token: MakeToken, workshop: Any
) -> None:
    study = workshop.running(owner="ada")
    bob, ada = (
        make_client(make_token(owner, "read", "submit"), host="0.0.0.0") for owner in ("bob", "ada")
    )
    here = f"/v1/studies/{study.id}"
    lines = [
        f"GET {here}{rest}"
        for rest in (
            "",
            "/progress",
            "/trials",
            "/trials/1/measurements",
            "/events",
            "/report",
            "/report/figures/confirm",
        )
    ] + [f"POST {here}/cancel"]
    lines += [
        f"GET /studies/{study.id}",
        f"GET /studies/{study.id}/report",
        f"POST /studies/{study.id}/cancel",
    ]
    assert [bob.request(*line.split()).status_code for line in lines] == [404] * len(lines)
    assert (
        bob.get("/v1/studies").json()["items"]
        == bob.get(f"/v1/studies?name={study.spec.name}").json()["items"]
        == []
    )
    assert ada.get(here).status_code == 200
    assert make_client(ADMIN, host="0.0.0.0", admin_token=ADMIN).get(here).status_code == 200


def test_study_belongs_to_its_submitter(
    make_client: MakeClient, make_token: MakeToken, announced: None, plain_spec: dict[str, Any]
) -> None:
    ada = make_client(make_token("ada", "submit", "read"), host="0.0.0.0")
    assert ada.post("/v1/studies", json=plain_spec).json()["owner"] == "ada"


def test_health_needs_no_token(make_client: MakeClient, announced: None) -> None:
    client = make_client(host="0.0.0.0", admin_token=ADMIN)
    assert (client.get("/healthz").status_code, client.get("/readyz").status_code) == (200, 200)
