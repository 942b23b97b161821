"""What deleted studies leave is removed, also if the process ends in the middle."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import optuna
import pytest
import structlog

from gradnoise_service import search
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric
from gradnoise_service.store import deletion, studies
from gradnoise_service.store.database import Database
from gradnoise_service.usecases import removal
from gradnoise_service.usecases.removal import Remover


def test_a_removal_that_was_interrupted_is_finished(
    database: Database,
    make_spec: Callable[..., StudySpec],
    now: datetime,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metric = Metric(name="accuracy", direction="maximize", worst=0.0)
    storage = search.open_storage(database.url.render_as_string(hide_password=False))
    names: list[str] = []
    with database.session(write=True) as session:
        for name in ("kept", "gone", "also gone"):
            study = studies.submit(session, make_spec(name=name), metric, owner="ada", now=now)
            names.append(study.search_name(study.design.search_keys[0]))
            for folder in ("checkpoints", "artifacts"):
                (tmp_path / folder / str(study.id) / "7").mkdir(parents=True)
                (tmp_path / folder / str(study.id) / "7" / "a file").write_bytes(b"content")
        for study_id in (2, 3):
            deletion.mark(session, study_id, None, now)
    for name in names:
        optuna.create_study(storage=storage, study_name=name)
    remover = Remover(
        database=database,
        storage=storage,
        checkpoints=tmp_path / "checkpoints",
        artifacts_url=f"file://{tmp_path}/artifacts",
    )
    remove = removal._remove_artifacts

    def fail_once(url: str, study_id: int) -> None:
        monkeypatch.setattr(removal, "_remove_artifacts", remove)
        raise OSError("the store cannot be reached")

    monkeypatch.setattr(removal, "_remove_artifacts", fail_once)
    with structlog.testing.capture_logs() as events:
        remover.run(now)
    assert [event["log_level"] for event in events] == ["error", "info"]
    assert [each.study_name for each in storage.get_all_studies()] == names[:1]
    assert sorted(path.name for path in (tmp_path / "artifacts").iterdir()) == ["1", "2"]
    with structlog.testing.capture_logs():
        remover.run(now)
    for folder in ("checkpoints", "artifacts"):
        assert [path.name for path in (tmp_path / folder).iterdir()] == ["1"]
    with database.session() as session:
        assert deletion.marked(session, now) == []
    storage.remove_session()
    storage.engine.dispose()
