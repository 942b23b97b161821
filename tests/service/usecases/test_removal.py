"""What deleted studies leave is removed, also if the process ends in the middle."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
import structlog
from sqlalchemy import select

from gradnoise_service import search
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, TrialFile
from gradnoise_service.store import deletion, files, logs, studies, trials, verbs
from gradnoise_service.store.database import Database
from gradnoise_service.store.tables import AttemptRow
from gradnoise_service.usecases import removal
from gradnoise_service.usecases.removal import Remover
from gradnoise_service.usecases.study_folders import StudyFolders


@pytest.fixture(autouse=True)
def _unbound_logger(monkeypatch: pytest.MonkeyPatch) -> None:
    """A logger that was used before keeps the configuration of then, and is not captured."""
    monkeypatch.setattr(removal, "log", structlog.get_logger())


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
    for name in (*names, names[1] + " (copy)"):  # a retry was interrupted
        optuna.create_study(storage=storage, study_name=name)
    remover = Remover(
        database=database,
        storage=storage,
        folders=[
            StudyFolders(url=str(tmp_path / "checkpoints")),
            StudyFolders(url=f"file://{tmp_path}/artifacts"),
        ],
    )
    remove = StudyFolders.remove

    def fail_once(place: StudyFolders, study_id: int) -> None:
        if place.url.startswith("file://"):
            monkeypatch.setattr(StudyFolders, "remove", remove)
            raise OSError("the store cannot be reached")
        remove(place, study_id)

    monkeypatch.setattr(StudyFolders, "remove", fail_once)
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


def test_logs_and_files_of_old_studies_are_removed_once(
    database: Database,
    make_spec: Callable[..., StudySpec],
    now: datetime,
    tmp_path: Path,
    workshop: Any,
) -> None:
    """Their trials stay; studies that are queued, run or ended later keep everything."""
    old, recent, running = (workshop.running(name=name) for name in ("old", "recent", "running"))
    queued = workshop.queued()
    ended_at = {old.id: now - timedelta(days=31), recent.id: now - timedelta(days=29)}
    with database.session(write=True) as session:
        for study_id, time in ended_at.items():
            verbs.cancel(session, study_id, None, time)
        for study in (old, recent, running):
            trial_id = trials.of_study(session, study.id)[0].id
            file = TrialFile(trial_id=trial_id, name="a", n_bytes=1, sha256="0" * 64)
            files.record(session, [file], now)
            of_trial = select(AttemptRow.lease_token).where(AttemptRow.trial_id == trial_id)
            token = session.scalars(of_trial).one()
            logs.record(session, study.id, [logs.NewText(token=token, position=0, text="x")], 9)
    for study in (old, recent, running, queued):
        for folder in ("checkpoints", "artifacts"):
            (tmp_path / folder / str(study.id)).mkdir(parents=True)
    remover = Remover(
        database=database,
        storage=None,  # type: ignore[arg-type]  # Optuna's studies stay
        folders=[StudyFolders(url=str(tmp_path / name)) for name in ("checkpoints", "artifacts")],
    )
    with structlog.testing.capture_logs():
        pruned = remover.prune(now - timedelta(days=30), now)
        assert [study.id for study in pruned] == [old.id]
        assert remover.prune(now - timedelta(days=30), now) == []
    for folder in ("checkpoints", "artifacts"):
        left = {int(path.name) for path in (tmp_path / folder).iterdir()}
        assert left == {recent.id, running.id, queued.id}
    with database.session() as session:
        assert studies.get(session, old.id, None).pruned_at == now
        assert len(trials.of_study(session, old.id)) == 8
        for study, n in ((old, 0), (recent, 1), (running, 1)):
            assert len(files.of_study(session, study.id)) == n
            assert len(logs.page(session, study.id, after=0, limit=9)) == n
