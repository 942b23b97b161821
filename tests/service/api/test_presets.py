"""Presets are listed and shown with their studies."""

import pytest
from starlette.testclient import TestClient

from gradnoise_service import presets
from gradnoise_service.domain.spec import StudySpec

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_presets_are_listed(client: TestClient) -> None:
    shown = client.get("/v1/presets").json()["items"]
    assert [preset["name"] for preset in shown] == presets.names()
    assert all(preset["description"] for preset in shown)


@pytest.mark.parametrize(
    ("name", "scale"), [("demo", "full"), ("paper-table-1", "full"), ("paper-table-1", "quick")]
)
def test_preset_has_complete_studies(client: TestClient, name: str, scale: str) -> None:
    shown = client.get(f"/v1/presets/{name}", params={"scale": scale}).json()
    assert [StudySpec.model_validate(study) for study in shown["studies"]] == [
        StudySpec.model_validate(plain) for plain in presets.load(name, scale)
    ]
    assert (shown["n_studies"], shown["scales"]) == (len(shown["studies"]), presets.scales(name))


@pytest.mark.parametrize(
    ("name", "legal"), [("demo", "full"), ("paper-table-1", "quick | half | full | long")]
)
def test_unknown_scale_is_refused(client: TestClient, name: str, legal: str) -> None:
    refused = client.get(f"/v1/presets/{name}", params={"scale": "huge"})
    assert refused.status_code == 422
    assert [(e["field"], e["value"], e["legal"]) for e in refused.json()["errors"]] == [
        ("scale", "huge", legal)
    ]


def test_row_of_a_paper_table_is_shown_alone(client: TestClient) -> None:
    """An unknown row is refused; a single study has no rows."""
    shown = client.get("/v1/presets/paper-table-2", params={"row": "two-stage"}).json()
    assert [study["name"] for study in shown["studies"]] == ["paper-table-2 two-stage"]
    for name, legal in (
        ("paper-table-2", "one-stage | two-stage"),
        ("demo", "none, because the preset is not a table"),
    ):
        refused = client.get(f"/v1/presets/{name}", params={"row": "three-stage"})
        assert refused.status_code == 422
        assert [(e["field"], e["value"], e["legal"]) for e in refused.json()["errors"]] == [
            ("row", "three-stage", legal)
        ]


@pytest.mark.parametrize("name", ["nothing", "..%2F..%2Fspec", "demo.yaml"])
def test_no_other_file_can_be_read(client: TestClient, name: str) -> None:
    assert client.get(f"/v1/presets/{name}").status_code == 404
