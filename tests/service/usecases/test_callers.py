"""Callers are identified by their token."""

from datetime import datetime
from pathlib import Path

import pytest

from gradnoise_service.settings import Settings
from gradnoise_service.store.database import Database
from gradnoise_service.usecases import tokens
from gradnoise_service.usecases.callers import ADMIN, LOCAL, identify
from gradnoise_service.usecases.service import Service

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def service(
    database: Database, now: datetime, tmp_path: Path, host: str, admin_token: str | None
) -> Service:
    settings = Settings(home=tmp_path, host=host)
    return Service(settings=settings, database=database, clock=lambda: now, admin_token=admin_token)


def test_every_caller_is_local_on_loopback(
    database: Database, now: datetime, tmp_path: Path
) -> None:
    assert identify(service(database, now, tmp_path, "127.0.0.1", None), None) == LOCAL


def test_admin_token_has_every_scope(database: Database, now: datetime, tmp_path: Path) -> None:
    guarded = service(database, now, tmp_path, "127.0.0.1", "secret")
    assert identify(guarded, "secret") == ADMIN
    assert identify(guarded, "guess") is None
    assert identify(guarded, None) is None


def test_stored_token_has_its_owner_and_scopes(
    database: Database, now: datetime, tmp_path: Path
) -> None:
    public = service(database, now, tmp_path, "0.0.0.0", None)
    token, _ = tokens.create(public, name="laptop", owner="ada", scopes=["read"], days=1)
    caller = identify(public, token)
    assert caller is not None
    assert (caller.owner, caller.scopes, caller.visible_owner) == ("ada", ("read",), "ada")


def test_public_service_needs_a_token_to_log_in_with(
    database: Database, now: datetime, tmp_path: Path
) -> None:
    public = service(database, now, tmp_path, "0.0.0.0", None)
    assert not tokens.can_log_in(public)
    tokens.create(public, name="laptop", owner="ada", scopes=["read"], days=None)
    assert tokens.can_log_in(public)
    assert tokens.can_log_in(service(database, now, tmp_path, "0.0.0.0", "secret"))
    assert tokens.can_log_in(service(database, now, tmp_path, "127.0.0.1", None))
