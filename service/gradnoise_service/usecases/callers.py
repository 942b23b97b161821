"""Identifying the sender of a request by its token or its login."""

import hmac
from datetime import timedelta

from gradnoise_service.domain.access import ALL_SCOPES, Caller
from gradnoise_service.store import logins, tokens
from gradnoise_service.store.prepared import Transaction
from gradnoise_service.usecases.service import Service

LOCAL = Caller(owner="local", scopes=ALL_SCOPES)
ADMIN = Caller(owner="admin", scopes=ALL_SCOPES)
LOGIN_TIME = timedelta(days=30)


def identify(service: Service, token: str | None, login: str | None = None) -> Caller | None:
    """Return the caller with a token, or without one with the key of a login.

    Returns:
        The caller; None if both are missing, unknown or expired, or if the token of the login is
        no longer valid. Where no tokens are required, every caller is `LOCAL`.
    """
    if not service.requires_tokens:
        return LOCAL
    if not token and not login:
        return None
    if token and (caller := _admin(service, tokens.digest(token))):
        return caller
    with service.database.transaction() as session:
        if token:
            return _caller(service, session, tokens.digest(token))
        found = logins.token_digest(session, login or "", service.clock())
        return None if found is None else _caller(service, session, found)


def log_in(service: Service, token: str) -> str | None:
    """Return the key of a new login with a token, None if the token is unknown or expired."""
    if identify(service, token) is None:
        return None
    now = service.clock()
    with service.database.session(write=True) as session:
        return logins.create(session, token, now, now + LOGIN_TIME)


def log_out(service: Service, login: str) -> None:
    """End a login; its key is worthless from then on."""
    with service.database.session(write=True) as session:
        logins.end(session, login)


def _caller(service: Service, session: Transaction, digest: str) -> Caller | None:
    if caller := _admin(service, digest):
        return caller
    info = tokens.find(session, digest, service.clock())
    return None if info is None else Caller(owner=info.owner, scopes=info.scopes)


def _admin(service: Service, digest: str) -> Caller | None:
    admin_token = service.admin_token
    is_admin = bool(admin_token) and hmac.compare_digest(digest, tokens.digest(admin_token or ""))
    return ADMIN if is_admin else None
