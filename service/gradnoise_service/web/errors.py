"""Errors as people see them in a browser; programs get problem+json."""

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gradnoise_service.api import problem
from gradnoise_service.web.templating import render

FOR_PROGRAMS = ("/v1/", "/healthz", "/readyz", "/openapi.json")


def answer(request: Request, error: Exception) -> Response:
    """Answer a browser with a page, or with the login where one is needed, and a program with the
    problem.
    """
    if request.url.path.startswith(FOR_PROGRAMS) or "text/html" not in request.headers.get(
        "accept", ""
    ):
        return problem.answer(request, error)
    shown = problem.problem_of(error)
    if shown.status == 401 and request.method == "GET":
        return RedirectResponse(f"/login?next={quote(request.url.path)}", status_code=303)
    page = render(request, "error.html", status=shown.status, needs_tokens=False, problem=shown)
    page.headers.update(problem.headers_of(error))
    return page
