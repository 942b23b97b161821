"""The Optuna Dashboard is readable with permission and never writable."""

import base64
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import optuna
import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from gradnoise_service.api.auth import COOKIE
from gradnoise_service.dashboard import create_app
from gradnoise_service.search import Storage
from gradnoise_service.settings import Settings
from gradnoise_service.store import logins, tokens
from gradnoise_service.store.database import Database

Open = Callable[..., TestClient]


@pytest.fixture
def storage(storage: Storage) -> Storage:
    """Optuna's storage with a study of one trial."""
    study = optuna.create_study(study_name="a study · baseline", storage=storage)
    study.tell(study.ask(), 0.5)
    return storage


@pytest.fixture
def open_dashboard(database: Database, storage: Storage, now: datetime) -> Open:
    """A function that returns a client of the dashboard with the given settings."""

    def create(**settings: object) -> TestClient:
        return TestClient(
            create_app(Settings.model_validate(settings), database, storage, lambda: now),
            base_url="http://127.0.0.1:8001",
        )

    return create


@pytest.fixture
def cluster(open_dashboard: Open) -> TestClient:
    """The dashboard of a cluster, with an admin token."""
    return open_dashboard(host="0.0.0.0", admin_token=SecretStr("the-admin-token"))


def token(
    database: Database, now: datetime, *scopes: tokens.Scope, lifetime: timedelta | None = None
) -> str:
    with database.session(write=True) as session:
        expires_at = None if lifetime is None else now + lifetime
        return tokens.create(
            session, owner="ada", scopes=scopes, name="a token", expires_at=expires_at, now=now
        )


def test_loopback_dashboard_shows_studies_without_a_token(open_dashboard: Open) -> None:
    """The page, its script and its data are served."""
    dashboard = open_dashboard()
    assert "text/html" in dashboard.get("/").headers["content-type"]
    assert dashboard.get("/static/bundle.js").status_code == 200
    (study,) = dashboard.get("/api/studies").json()["study_summaries"]
    assert study["study_name"] == "a study · baseline"
    assert len(dashboard.get(f"/api/studies/{study['study_id']}").json()["trials"]) == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/studies/1"),
        ("POST", "/api/studies"),
        ("POST", "/api/studies/1/rename"),
        ("PUT", "/api/studies/1/note"),
        ("POST", "/api/trials/1/tell"),
        ("POST", "/incompatible-rdb-schema"),
        ("PATCH", "/api/studies/1"),
        ("OPTIONS", "/api/studies/1"),
    ],
)
def test_nothing_can_be_written(
    open_dashboard: Open, storage: Storage, method: str, path: str
) -> None:
    """Methods other than GET and HEAD are refused with 405, and the studies do not change."""
    refusal = open_dashboard().request(method, path, json={})
    assert refusal.status_code == 405
    assert refusal.headers["allow"] == "GET, HEAD"
    assert refusal.headers["content-type"] == "application/problem+json"
    assert [study.study_name for study in storage.get_all_studies()] == ["a study · baseline"]


def test_unknown_host_name_is_refused(open_dashboard: Open) -> None:
    """It may be an attacker's name, rebound to this machine."""
    dashboard = open_dashboard(allowed_hosts=["lab.example"])
    assert dashboard.get("/api/studies", headers={"Host": "evil.example:8001"}).status_code == 421
    assert dashboard.get("/api/studies", headers={"Host": "lab.example"}).status_code == 200


def test_cluster_requires_a_token(cluster: TestClient) -> None:
    """The answer makes a browser show its login dialog."""
    refusal = cluster.get("/api/studies")
    assert refusal.status_code == 401
    assert refusal.headers["www-authenticate"].startswith("Basic ")
    assert "a study" not in refusal.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer the-admin-token"},
        {"Authorization": "Basic " + base64.b64encode(b"anyone:the-admin-token").decode()},
    ],
    ids=["bearer", "password"],
)
def test_admin_token_gives_access(cluster: TestClient, headers: dict[str, str]) -> None:
    """It may be in a header, or the password of the browser's login dialog."""
    assert cluster.get("/api/studies", headers=headers).status_code == 200


def test_login_to_the_pages_gives_access(
    cluster: TestClient, database: Database, now: datetime
) -> None:
    with database.session(write=True) as session:
        key = logins.create(session, "the-admin-token", now, now + timedelta(days=1))
    for value, status in ((key, 200), ("the-admin-token", 401)):
        headers = {"Cookie": f"{COOKIE}={value}"}
        assert cluster.get("/api/studies", headers=headers).status_code == status


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer wrong",
        "Basic !!!",
        "Basic " + base64.b64encode(b"x:wrong").decode(),
        "Basic /w==",
        "",
    ],
)
def test_wrong_token_is_refused(cluster: TestClient, authorization: str) -> None:
    """A malformed header is refused too."""
    assert cluster.get("/api/studies", headers={"Authorization": authorization}).status_code == 401


def test_token_without_the_scope_admin_is_refused(
    cluster: TestClient, database: Database, now: datetime
) -> None:
    """The dashboard shows the studies of every owner."""
    headers = {"Authorization": f"Bearer {token(database, now, 'read', 'submit')}"}
    assert cluster.get("/api/studies", headers=headers).status_code == 403


def test_expired_token_is_refused(cluster: TestClient, database: Database, now: datetime) -> None:
    headers = {
        "Authorization": f"Bearer {token(database, now, 'admin', lifetime=timedelta(seconds=-1))}"
    }
    assert cluster.get("/api/studies", headers=headers).status_code == 401


def test_guessed_tokens_are_rate_limited(open_dashboard: Open) -> None:
    """The limit applies to the address."""
    dashboard = open_dashboard(admin_token=SecretStr("the-admin-token"), requests_per_minute=3)
    answers = [
        dashboard.get("/api/studies", headers={"Authorization": f"Bearer guess-{i}"}).status_code
        for i in range(5)
    ]
    assert answers[:3] == [401, 401, 401]
    assert 429 in answers[3:]


def test_admin_token_is_read_from_a_file(open_dashboard: Open, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("from-a-file\n", encoding="utf-8")
    dashboard = open_dashboard(admin_token_file=secret)
    assert (
        dashboard.get("/api/studies", headers={"Authorization": "Bearer from-a-file"}).status_code
        == 200
    )
