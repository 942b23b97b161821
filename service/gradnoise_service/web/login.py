"""Login: a cookie with a key that scripts cannot read, other sites cannot use, and logout ends."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from starlette.requests import Request
from starlette.responses import RedirectResponse

from gradnoise_service.api.auth import COOKIE
from gradnoise_service.api.limits import address_key
from gradnoise_service.api.state import CurrentLimiter, CurrentService
from gradnoise_service.usecases import callers
from gradnoise_service.web.forms import Fields
from gradnoise_service.web.templating import render

router = APIRouter(include_in_schema=False)


def _limit_address(request: Request, limiter: CurrentLimiter) -> None:
    limiter.take(address_key(request))


@router.get("/login")
def show_login(
    request: Request, service: CurrentService, next: Annotated[str, Query()] = "/"
) -> Response:
    """Show the login form, or redirect to the studies if no token is required."""
    if not service.requires_tokens:
        return RedirectResponse("/", status_code=303)
    return _form(request, next=local_path(next), is_refused=False)


@router.post("/login")
def log_in(
    request: Request,
    service: CurrentService,
    _limited: Annotated[None, Depends(_limit_address)],
    form: Fields,
) -> Response:
    """Set the cookie and redirect to the requested page; show the form again if refused."""
    target, token = local_path(form.get("next", "/")), form.get("token", "").strip()
    login = callers.log_in(service, token)
    if login is None:
        return _form(request, next=target, is_refused=True)
    response = RedirectResponse(target, status_code=303)
    response.set_cookie(
        COOKIE,
        login,
        max_age=int(callers.LOGIN_TIME.total_seconds()),
        path=_cookie_path(request),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.post("/logout")
def log_out(request: Request, service: CurrentService) -> Response:
    """End the login and delete the cookie."""
    if login := request.cookies.get(COOKIE):
        callers.log_out(service, login)
    response = RedirectResponse("/login", status_code=303)
    response.delete_cookie(COOKIE, path=_cookie_path(request), httponly=True, samesite="strict")
    return response


def local_path(path: str) -> str:
    """Return a path of this service, or `/` if the path leads to another site.

    >>> local_path("/studies/3"), local_path("//evil.example"), local_path("https://evil.example")
    ('/studies/3', '/', '/')
    """
    is_local = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_local else "/"


def _cookie_path(request: Request) -> str:
    return request.scope.get("root_path") or "/"


def _form(request: Request, *, next: str, is_refused: bool) -> Response:
    return render(
        request,
        "login.html",
        status=401 if is_refused else 200,
        next=next,
        is_refused=is_refused,
    )
