"""Presets are listed and shown; one that is shown can be sent back as it stands."""

import pytest
from starlette.testclient import TestClient

from service import presets
from service.domain.spec import StudySpec

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_presets_are_listed(client: TestClient) -> None:
    shown = client.get("/v1/presets").json()["items"]
    assert [preset["name"] for preset in shown] == presets.names()
    assert all(preset["description"] for preset in shown)


def test_a_preset_is_a_whole_study(client: TestClient) -> None:
    shown = client.get("/v1/presets/demo").json()
    assert StudySpec.model_validate(shown["spec"]) == StudySpec.model_validate(presets.load("demo"))


@pytest.mark.parametrize("name", ["nothing", "..%2F..%2Fspec", "demo.yaml"])
def test_no_other_file_is_a_preset(client: TestClient, name: str) -> None:
    assert client.get(f"/v1/presets/{name}").status_code == 404
