"""Files of trials are listed and downloaded by those who may see the study."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from gradnoise_service.domain.study import Study, TrialFile
from gradnoise_service.store import files
from gradnoise_service.store.database import Database

CONTENT = bytes(range(256)) * 3000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def study(workshop: Any, database: Database, tmp_path: Path) -> Study:
    """A study whose trial 1 has saved a file, and whose trial 2 has lost one."""
    study: Study = workshop.running()
    folder = tmp_path / "artifacts" / str(study.id) / "1"
    folder.mkdir(parents=True)
    (folder / "weights.pt").write_bytes(CONTENT)
    with database.session(write=True) as session:
        for trial_id in (1, 2):
            file = TrialFile(
                trial_id=trial_id, name="weights.pt", n_bytes=len(CONTENT), sha256=SHA256
            )
            files.record(session, [file], workshop.now)
    return study


def test_a_file_is_listed_and_downloaded(client: TestClient, study: Study) -> None:
    [first, _] = client.get(f"/v1/studies/{study.id}/files").json()["items"]
    assert first == {
        "trial_id": 1,
        "name": "weights.pt",
        "n_bytes": len(CONTENT),
        "sha256": SHA256,
        "trial": "search/baseline/0",
    }
    assert client.get(f"/v1/studies/{study.id}/files?trial=1").json()["items"] == [first]
    answer = client.get(f"/v1/studies/{study.id}/trials/1/files/weights.pt")
    assert answer.content == CONTENT
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == 'attachment; filename="weights.pt"'
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("1/files/other.pt", 404, "has no file 'other.pt'"),
        ("3/files/weights.pt", 404, "has no file 'weights.pt'"),
        ("2/files/weights.pt", 404, "is not in GRADNOISE_ARTIFACTS"),
        ("1/files/..%2Fweights.pt", 404, ""),
        ("1/files/.weights.pt", 422, ""),
    ],
)
def test_what_is_not_there_is_not_found(
    client: TestClient, study: Study, path: str, status: int, detail: str
) -> None:
    answer = client.get(f"/v1/studies/{study.id}/trials/{path}")
    assert answer.status_code == status
    assert detail in answer.json()["detail"]


def test_a_file_that_is_being_replaced_is_refused(
    client: TestClient, study: Study, tmp_path: Path
) -> None:
    (tmp_path / "artifacts" / str(study.id) / "1" / "weights.pt").write_bytes(b"newer")
    answer = client.get(f"/v1/studies/{study.id}/trials/1/files/weights.pt")
    assert (answer.status_code, answer.json()["detail"]) == (
        409,
        "weights.pt of trial 1 is being replaced: try again.",
    )


def test_files_of_other_owners_are_not_found(
    client: TestClient, workshop: Any, study: Study
) -> None:
    other = workshop.queued()
    assert client.get(f"/v1/studies/{other.id}/trials/1/files/weights.pt").status_code == 404
    assert client.get(f"/v1/studies/{other.id}/files").json()["items"] == []
