"""Who asks, and may they: tokens by header or cookie; on a loopback address without an admin token
everyone is the owner `local`.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from gradnoise_service.api.service import CurrentService, Service
from gradnoise_service.domain.errors import ForbiddenError, UnauthenticatedError
from gradnoise_service.store import tokens
from gradnoise_service.store.tokens import Scope

COOKIE = "gradnoise_token"
ALL_SCOPES: tuple[Scope, ...] = ("read", "submit", "admin")


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Whoever sent the request."""

    owner: str
    scopes: tuple[Scope, ...]

    @property
    def sees(self) -> str | None:
        """The owner whose studies the caller sees, None for everyone's."""
        return None if "admin" in self.scopes else self.owner

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or "admin" in self.scopes


LOCAL = Caller(owner="local", scopes=ALL_SCOPES)
ADMIN = Caller(owner="admin", scopes=ALL_SCOPES)


def identify(service: Service, token: str | None) -> Caller | None:
    """Return whom a token stands for, None if for nobody."""
    if not service.needs_tokens:
        return LOCAL
    if not token:
        return None
    if service.admin_token is not None and hmac.compare_digest(
        token.encode(), service.admin_token.encode()
    ):
        return ADMIN
    with service.database.session() as session:
        info = tokens.authenticate(session, token, service.clock())
    return None if info is None else Caller(owner=info.owner, scopes=info.scopes)


def token_of(request: Request) -> str | None:
    """Return the token that a request carries: `Authorization: Bearer TOKEN`, or else the cookie of
    a login.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else request.cookies.get(COOKIE)


def caller(request: Request, service: CurrentService) -> Caller:
    """Identify the caller, and count the request against it, or against its address where it is
    nobody.
    """
    found = identify(service, token_of(request))
    address = request.client.host if request.client else "unknown"
    service.limiter.take(f"owner {found.owner}" if found else f"address {address}")
    if found is None:
        raise UnauthenticatedError()
    return found


def _requires(scope: Scope) -> Callable[[Caller], Caller]:
    def check(caller: Annotated[Caller, Depends(caller)]) -> Caller:
        if not caller.may(scope):
            raise ForbiddenError(
                f"This needs a token with the scope {scope!r}; yours has "
                f"{', '.join(caller.scopes) or 'none'}."
            )
        return caller

    return check


Reader = Annotated[Caller, Depends(_requires("read"))]
Submitter = Annotated[Caller, Depends(_requires("submit"))]
Admin = Annotated[Caller, Depends(_requires("admin"))]
