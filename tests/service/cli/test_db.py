"""`gradnoise db upgrade` creates the database, or says why it cannot."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import column, table
from typer.testing import CliRunner, Result

from gradnoise_service import app as api_process
from gradnoise_service.cli.app import app
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric
from gradnoise_service.local.doctor import _database
from gradnoise_service.prepare_database import prepare_or_exit
from gradnoise_service.settings import Settings
from gradnoise_service.store import migrate, studies, verbs
from gradnoise_service.store.database import Database, open_database
from gradnoise_service.usecases import health
from gradnoise_service.usecases.service import Service


@pytest.mark.usefixtures("quiet")
def test_database_is_created_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second upgrade changes nothing."""
    monkeypatch.delenv("GRADNOISE_DATABASE_URL", raising=False)
    command = ["db", "upgrade", "--home", str(tmp_path / "new"), "--json"]
    first, second = (CliRunner().invoke(app, command) for _ in range(2))
    assert first.exit_code == second.exit_code == 0
    assert json.loads(first.stdout) == json.loads(second.stdout)
    assert (tmp_path / "new" / "gradnoise.db").exists()


@pytest.mark.usefixtures("quiet")
def test_a_database_of_a_newer_version_is_refused_in_a_sentence(
    tmp_path: Path, live_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the command and by every process that opens it."""
    monkeypatch.delenv("GRADNOISE_DATABASE_URL", raising=False)
    home = tmp_path / "home"
    version = table("gradnoise_alembic_version", column("version_num"))
    with live_database.session(write=True) as session:
        session.execute(version.update().values(version_num="9999"))
    sentence = (
        "The database has schema 9999, which this version of gradnoise does not know (its newest "
        f"is {migrate.head()}): a newer version has upgraded it, so install that version."
    )
    refused = CliRunner().invoke(app, ["db", "upgrade", "--home", str(home)])
    assert (refused.exit_code, " ".join(refused.stderr.split())) == (1, f"✗ {sentence}")
    settings = Settings(home=home)
    for prepare in (
        lambda: prepare_or_exit(settings.database),
        lambda: api_process._prepare_database(settings),
    ):
        with pytest.raises(SystemExit) as exit:
            prepare()
        assert exit.value.code == sentence
    service = Service(
        settings=settings, database=live_database, clock=lambda: datetime.now(UTC), admin_token=None
    )
    *_, check = health.checks(service)
    assert (check.name, check.ok, check.detail) == ("schema", False, sentence)
    found = _database(settings)
    assert (found.state, found.detail) == ("fail", sentence)


@pytest.mark.usefixtures("quiet")
def test_a_database_is_pruned_backed_up_and_restored(
    tmp_path: Path,
    live_database: Database,
    make_spec: Callable[..., StudySpec],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("GRADNOISE_DATABASE_URL", "GRADNOISE_KEEP_DAYS"):
        monkeypatch.delenv(name, raising=False)
    now = datetime.now(UTC)
    metric = Metric(name="accuracy", direction="maximize", worst=0.0)
    with live_database.session(write=True) as session:
        for name, days in (("old", 40), ("recent", 1)):
            study = studies.submit(session, make_spec(name=name), metric, owner="ada", now=now)
            verbs.cancel(session, study.id, None, now - timedelta(days=days))

    def db(*arguments: object, home: str = "home") -> Result:
        return CliRunner().invoke(app, ["db", *map(str, arguments), "--home", str(tmp_path / home)])

    assert db("prune").exit_code == 2
    assert db("prune", "--days", 30).exit_code == 2
    what = "logs, files and checkpoints of old (id 1, ada).\n"
    assert db("prune", "--days", 30, "--dry-run").stdout == f"Would remove {what}"
    assert db("prune", "--days", 30, "--yes").stdout == f"Removed {what}"
    assert json.loads(db("prune", "--days", 30, "--yes", "--json").stdout) == []
    file = tmp_path / "backup.gz"
    assert db("backup", file).exit_code == 0
    assert db("backup", file).exit_code == 1
    whole = db("prune", "--days", 30, "--whole", "--yes")
    assert whole.stdout == "Removed all of old (id 1, ada).\n"
    with live_database.session() as session:
        assert [s.id for s in studies.page(session, owner=None, before=None, limit=9)] == [2]
    assert db("restore", file).exit_code == 1
    assert db("restore", file, home="new").exit_code == 0
    restored = open_database(f"sqlite:///{tmp_path / 'new' / 'gradnoise.db'}")
    with restored.session() as session:
        assert [s.id for s in studies.page(session, owner=None, before=None, limit=9)] == [2, 1]
    restored.dispose()
    assert db("restore", tmp_path / "none.gz", home="newer").exit_code == 2
