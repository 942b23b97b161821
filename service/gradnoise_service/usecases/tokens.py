"""Use cases on API tokens."""

from collections.abc import Sequence
from datetime import timedelta

from gradnoise_service.domain.access import Scope
from gradnoise_service.store import tokens
from gradnoise_service.store.tokens import TokenInfo
from gradnoise_service.usecases.service import Service


def create(
    service: Service, *, name: str, owner: str, scopes: Sequence[Scope], days: int | None
) -> tuple[str, TokenInfo]:
    """Create a token that expires after `days`, None for never; return it with its description.

    Raises:
        ConflictError: If another token has the name.
    """
    now = service.clock()
    expires_at = None if days is None else now + timedelta(days=days)
    with service.database.session(write=True) as session:
        token = tokens.create(
            session, owner=owner, scopes=scopes, name=name, expires_at=expires_at, now=now
        )
    info = TokenInfo(name=name, owner=owner, scopes=tuple(scopes), expires_at=expires_at)
    return token, info


def list_all(service: Service) -> Sequence[TokenInfo]:
    """Return the description of every token, by name."""
    with service.database.session() as session:
        return tokens.list_all(session)


def revoke(service: Service, name: str) -> None:
    """Delete a token.

    Raises:
        NotFoundError: If there is no token with this name.
    """
    with service.database.session(write=True) as session:
        tokens.revoke(session, name)


def can_log_in(service: Service) -> bool:
    """True if callers need no token, or there is a token with which to log in."""
    if not service.requires_tokens or service.admin_token:
        return True
    with service.database.session() as session:
        return tokens.count(session) > 0
