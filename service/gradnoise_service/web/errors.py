"""Errors as pages for browsers, and as problem+json for programs."""

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gradnoise_service.api.problem import headers_of, problem_of, problem_response
from gradnoise_service.api.proxies import path_below_root
from gradnoise_service.web.templating import render

PROGRAM_PATHS = ("/v1/", "/healthz", "/readyz", "/metrics", "/openapi.json")


def respond(request: Request, error: Exception) -> Response:
    """Return the response to an error.

    A browser gets a page, or a redirect to the login if a token is required; a program gets the
    problem.
    """
    accepts_html = "text/html" in request.headers.get("accept", "")
    path = path_below_root(request.scope)
    if path.startswith(PROGRAM_PATHS) or not accepts_html:
        return problem_response(request, error)
    problem = problem_of(error, request)
    if problem.status == 401 and request.method == "GET":
        return RedirectResponse(f"/login?next={quote(path)}", status_code=303)
    page = render(request, "error.html", status=problem.status, problem=problem)
    page.headers.update(headers_of(error, request))
    return page
