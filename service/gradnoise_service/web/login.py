"""Login of people: a token becomes a cookie that scripts cannot read and other sites cannot use."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from starlette.requests import Request
from starlette.responses import RedirectResponse

from gradnoise_service.api.auth import COOKIE, identify
from gradnoise_service.api.service import CurrentService
from gradnoise_service.web.forms import Fields
from gradnoise_service.web.templating import render

router = APIRouter(include_in_schema=False)

COOKIE_DAYS = 30


@router.get("/login")
def ask(request: Request, service: CurrentService, next: Annotated[str, Query()] = "/") -> Response:
    """Show the form, unless nobody needs a token here."""
    if not service.needs_tokens:
        return RedirectResponse("/", status_code=303)
    return render(request, "login.html", needs_tokens=False, next=local_path(next), refused=False)


@router.post("/login")
def enter(request: Request, service: CurrentService, form: Fields) -> Response:
    """Set the cookie and lead to the page that was wanted, or show the form again."""
    service.limiter.take(f"address {request.client.host if request.client else 'unknown'}")
    wanted, token = local_path(form.get("next", "/")), form.get("token", "").strip()
    if identify(service, token) is None:
        return render(
            request, "login.html", status=401, needs_tokens=False, next=wanted, refused=True
        )
    response = RedirectResponse(wanted, status_code=303)
    is_encrypted = request.url.scheme == "https"
    response.set_cookie(
        COOKIE,
        token,
        max_age=COOKIE_DAYS * 86400,
        httponly=True,
        samesite="strict",
        secure=is_encrypted,
    )
    return response


@router.post("/logout")
def leave() -> Response:
    """Forget the cookie."""
    response = RedirectResponse("/login", status_code=303)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


def local_path(path: str) -> str:
    """Return a path of this service, `/` for anything that would lead elsewhere.

    >>> local_path("/studies/3"), local_path("//evil.example"), local_path("https://evil.example")
    ('/studies/3', '/', '/')
    """
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_ours else "/"
