"""A token is shown once, is valid until it expires or is revoked, and is stored as a hash."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from gradnoise_service.domain.errors import ConflictError, NotFoundError
from gradnoise_service.store import tokens
from gradnoise_service.store.database import Database
from gradnoise_service.store.tables import TokenRow


def test_a_token_authenticates_its_owner_until_it_expires(
    database: Database, now: datetime
) -> None:
    with database.session(write=True) as session:
        token = tokens.create(
            session,
            owner="ada",
            scopes=["read"],
            name="laptop",
            expires_at=now + timedelta(days=1),
            now=now,
        )
    with database.session() as session:
        info = tokens.find(session, tokens.digest(token), now)
        assert info is not None
        assert (info.owner, info.scopes, info.name) == ("ada", ("read",), "laptop")
        assert tokens.find(session, tokens.digest(token), now + timedelta(days=1)) is None
        assert tokens.find(session, tokens.digest(token + "x"), now) is None
        assert tokens.count(session) == 1


def test_the_text_of_a_token_is_not_stored(database: Database, now: datetime) -> None:
    with database.session(write=True) as session:
        token = tokens.create(
            session, owner="ada", scopes=["read"], name="laptop", expires_at=None, now=now
        )
    with database.session() as session:
        row = session.execute(select(TokenRow)).scalar_one()
    assert token not in str(vars(row))
    assert len(token) > 43  # 256 bits in base 64


def test_names_are_unique_and_a_revoked_token_is_rejected(
    database: Database, now: datetime
) -> None:
    with database.session(write=True) as session:
        token = tokens.create(
            session, owner="ada", scopes=["admin"], name="laptop", expires_at=None, now=now
        )
        with pytest.raises(ConflictError, match="laptop"):
            tokens.create(
                session, owner="bob", scopes=["read"], name="laptop", expires_at=None, now=now
            )
    with database.session(write=True) as session:
        tokens.revoke(session, "laptop")
        assert tokens.find(session, tokens.digest(token), now) is None
        assert tokens.list_all(session) == []
        with pytest.raises(NotFoundError, match="laptop"):
            tokens.revoke(session, "laptop")
