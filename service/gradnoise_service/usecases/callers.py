"""Identifying the sender of a request by its token."""

import hmac

from gradnoise_service.domain.access import ALL_SCOPES, Caller
from gradnoise_service.store import tokens
from gradnoise_service.usecases.service import Service

LOCAL = Caller(owner="local", scopes=ALL_SCOPES)
ADMIN = Caller(owner="admin", scopes=ALL_SCOPES)


def identify(service: Service, token: str | None) -> Caller | None:
    """Return the caller with a token, None if the token is missing, unknown or expired.

    Where no tokens are required, every caller is `LOCAL`.
    """
    if not service.requires_tokens:
        return LOCAL
    if not token:
        return None
    admin_token = service.admin_token
    if admin_token is not None and hmac.compare_digest(token.encode(), admin_token.encode()):
        return ADMIN
    with service.database.session() as session:
        info = tokens.authenticate(session, token, service.clock())
    return None if info is None else Caller(owner=info.owner, scopes=info.scopes)
