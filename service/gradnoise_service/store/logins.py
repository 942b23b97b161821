"""Logins of browsers: a random key in the cookie, stored as a digest with that of the token."""

import secrets
from datetime import datetime

from sqlalchemy import String, bindparam, delete, select
from sqlalchemy.orm import Session

from gradnoise_service.store.prepared import Prepared, Transaction
from gradnoise_service.store.tables import LOGIN, LoginRow
from gradnoise_service.store.tokens import digest

NOW = bindparam("now", type_=LOGIN.c.expires_at.type)
VALID = Prepared(
    select(LOGIN.c.token_digest).where(
        LOGIN.c.digest == bindparam("digest", type_=String), LOGIN.c.expires_at > NOW
    )
)


def create(session: Session, token: str, now: datetime, expires_at: datetime) -> str:
    """Store a login with a token and return its key; delete the logins that have expired."""
    session.execute(delete(LoginRow).where(LoginRow.expires_at <= now))
    key = secrets.token_urlsafe(32)
    row = LoginRow(
        digest=digest(key), token_digest=digest(token), created_at=now, expires_at=expires_at
    )
    session.add(row)
    return key


def token_digest(session: Transaction, key: str, now: datetime) -> str | None:
    """Return the digest of the token of a login, None if the login is unknown or has expired."""
    row = VALID.first(session, digest=digest(key), now=now)
    return None if row is None else str(row.token_digest)


def end(session: Session, key: str) -> None:
    """Delete a login, if it exists."""
    session.execute(delete(LoginRow).where(LoginRow.digest == digest(key)))
