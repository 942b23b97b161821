"""The API reference shows every operation and problem, and needs no network."""

import pytest
from starlette.testclient import TestClient

from gradnoise_service.api.problem_kinds import KINDS_BY_ERROR, KINDS_BY_STATUS

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_every_operation_is_shown(client: TestClient) -> None:
    page = client.get("/docs").text
    paths = client.get("/openapi.json").json()["paths"]
    assert [path for path in paths if f"<code>{path}</code>" not in page] == []


def test_every_problem_has_an_anchor(client: TestClient) -> None:
    page = client.get("/docs").text
    assert [
        kind.slug
        for kind in (*KINDS_BY_ERROR.values(), *KINDS_BY_STATUS.values())
        if f'id="{kind.slug}"' not in page
    ] == []


def test_nothing_is_loaded_from_another_site(client: TestClient) -> None:
    assert "http://" not in client.get("/docs").text
    assert "https://" not in client.get("/docs").text
