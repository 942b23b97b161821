"""Authentication by a token in a header or a login in a cookie; authorization by scopes."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated

from fastapi import Depends, Request

from gradnoise_service.api.limits import address_key
from gradnoise_service.api.state import current_limiter, current_service
from gradnoise_service.api.threads import in_thread
from gradnoise_service.domain.access import Caller, Scope
from gradnoise_service.domain.errors import ForbiddenError, UnauthenticatedError
from gradnoise_service.usecases.callers import identify

COOKIE = "gradnoise_login"


def credentials_of(request: Request) -> tuple[str | None, str | None]:
    """Return the token of `Authorization: Bearer TOKEN`, and the key of the login cookie."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None, request.cookies.get(COOKIE)


def _requires(scope: Scope) -> Callable[[Request], Awaitable[Caller]]:
    async def check(request: Request) -> Caller:
        caller = await _authenticated(request)
        if not caller.may(scope):
            scopes = ", ".join(caller.scopes) or "none"
            raise ForbiddenError(
                f"This request requires a token with the scope {scope!r}, but got {scopes}."
            )
        return caller

    return check


async def _authenticated(request: Request) -> Caller:
    """Return the caller; count the request against the owner, or the address if unauthenticated.

    Raises:
        UnauthenticatedError: If the token is missing, unknown or expired.
        HTTPException: 429 if there were too many requests.
    """
    service, limiter = await current_service(request), await current_limiter(request)
    credentials = credentials_of(request)
    if service.requires_tokens:
        caller = await in_thread(partial(identify, service, *credentials))
    else:
        caller = identify(service, *credentials)
    limiter.take(f"owner {caller.owner}" if caller else address_key(request))
    if caller is None:
        raise UnauthenticatedError()
    return caller


Reader = Annotated[Caller, Depends(_requires("read"))]
Submitter = Annotated[Caller, Depends(_requires("submit"))]
Coder = Annotated[Caller, Depends(_requires("code"))]
Monitor = Annotated[Caller, Depends(_requires("metrics"))]
Admin = Annotated[Caller, Depends(_requires("admin"))]
