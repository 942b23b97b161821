"""The reference shows every address and every problem, and needs no network."""

import pytest
from starlette.testclient import TestClient

from gradnoise_service.api.problem import OF_ERROR, OF_STATUS

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_every_operation_stands_in_it(client: TestClient) -> None:
    page = client.get("/docs").text
    paths = client.get("/openapi.json").json()["paths"]
    assert [path for path in paths if f"<code>{path}</code>" not in page] == []


def test_every_problem_can_be_linked_to(client: TestClient) -> None:
    page = client.get("/docs").text
    assert [
        kind.slug
        for kind in (*OF_ERROR.values(), *OF_STATUS.values())
        if f'id="{kind.slug}"' not in page
    ] == []


def test_nothing_is_loaded_from_elsewhere(client: TestClient) -> None:
    assert "http://" not in client.get("/docs").text
    assert "https://" not in client.get("/docs").text
