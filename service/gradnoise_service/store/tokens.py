"""API tokens: 256 random bits, shown once, stored as a SHA-256 digest."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import String, bindparam, delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from gradnoise_service.domain.access import Scope
from gradnoise_service.domain.errors import ConflictError, NotFoundError
from gradnoise_service.store.prepared import Prepared, Transaction
from gradnoise_service.store.tables import TOKEN, TokenRow

BY_DIGEST = Prepared(select(TOKEN).where(TOKEN.c.digest == bindparam("digest", type_=String)))


@dataclass(frozen=True, kw_only=True)
class TokenInfo:
    """A stored token's description, without the token."""

    name: str
    owner: str
    scopes: tuple[Scope, ...]
    expires_at: datetime | None


def create(
    session: Session,
    *,
    owner: str,
    scopes: Sequence[Scope],
    name: str,
    expires_at: datetime | None,
    now: datetime,
) -> str:
    """Create a token and return it; only its digest is stored.

    Raises:
        ConflictError: If another token has the name.
    """
    token = "gn_" + secrets.token_urlsafe(32)
    row = TokenRow(
        name=name,
        owner=owner,
        scopes=list(scopes),
        digest=digest(token),
        created_at=now,
        expires_at=expires_at,
    )
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        raise ConflictError(f"A token named {name!r} exists already.") from None
    return token


def find(session: Transaction, token_digest: str, now: datetime) -> TokenInfo | None:
    """Return the description of a valid token by its digest, None if it is unknown or expired."""
    row = BY_DIGEST.first(session, digest=token_digest)
    return (
        _info(row) if row is not None and (row.expires_at is None or row.expires_at > now) else None
    )


def list_all(session: Session) -> list[TokenInfo]:
    """Return every token's description, by name."""
    return [_info(row) for row in session.scalars(select(TokenRow).order_by(TokenRow.name))]


def revoke(session: Session, name: str) -> None:
    """Delete a token.

    Raises:
        NotFoundError: If no token has the name.
    """
    if (
        session.execute(
            delete(TokenRow).where(TokenRow.name == name).returning(TokenRow.id)
        ).first()
        is None
    ):
        raise NotFoundError(f"There is no token named {name!r}.")


def count(session: Session) -> int:
    """Return the number of tokens, expired ones included."""
    return session.scalar(select(func.count()).select_from(TokenRow)) or 0


def digest(token: str) -> str:
    """Return the SHA-256 digest of a token, as hexadecimal digits."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _info(row: Any) -> TokenInfo:
    scopes: tuple[Scope, ...] = tuple(row.scopes)
    return TokenInfo(name=row.name, owner=row.owner, scopes=scopes, expires_at=row.expires_at)
