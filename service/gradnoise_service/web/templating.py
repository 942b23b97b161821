"""Renders the templates of the pages, with all values escaped and no undefined names."""

import re
from pathlib import Path
from typing import Any

import jinja2
from jinja2.ext import Extension
from starlette.requests import Request
from starlette.responses import HTMLResponse

from gradnoise_service.api.auth import COOKIE
from gradnoise_service.api.guard import DOCUMENT_POLICY
from gradnoise_service.api.proxies import path_below_root
from gradnoise_service.domain.access import Caller
from gradnoise_service.domain.phrases import (
    metric_in_words,
    option_in_words,
    range_in_words,
    rule_in_words,
)
from gradnoise_service.domain.space import Space, Value, points, searched
from gradnoise_service.report.words.noise_ratio import noise_ratio
from gradnoise_service.report.words.numbers import (
    as_words,
    confidence,
    count,
    duration,
    given,
    moment,
    number,
    signed,
)
from gradnoise_service.report.words.queue import waits_for
from gradnoise_service.report.words.settings import length, space, techniques
from gradnoise_service.report.words.trial_errors import arm_error
from gradnoise_service.usecases.service import Service

FOLDER = Path(__file__).parent


def render(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page; the template gets the values, the request's path and whether it has a login.

    Paths in attributes, such as `href="/studies"`, are written below the root path of the service.
    """
    root = request.scope.get("root_path", "")
    page = ENVIRONMENT.get_template(template)
    return HTMLResponse(
        page.render(
            root=root,
            path=path_below_root(request.scope),
            has_login=COOKIE in request.cookies,
            **values,
        ),
        status,
    )


class RootedPaths(Extension):
    """Puts the root path before every path with which an attribute of a template starts."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        return re.sub(r'(\b[\w-]+=")/', r"\1{{ root }}/", source)


def render_page(
    request: Request,
    service: Service,
    caller: Caller,
    template: str,
    status: int = 200,
    **values: Any,
) -> HTMLResponse:
    """Return a page for a caller; the template also gets what the caller may do and see."""
    return render(
        request,
        template,
        status,
        may_submit=caller.may("submit"),
        dashboard=service.settings.dashboard_url if caller.visible_owner is None else "",
        **values,
    )


def document(request: Request, html: str, back: str, label: str) -> HTMLResponse:
    """Return a report, which is a file of its own, with a link to the page that it belongs to."""
    root = request.scope.get("root_path", "")
    link = f'<main>\n<nav aria-label="Back"><a href="{root}{back}">← {label}</a></nav>'
    page = html.replace("<main>", link, 1)
    return HTMLResponse(page, headers={"Content-Security-Policy": DOCUMENT_POLICY})


def fixed(space: Space) -> dict[str, Value]:
    """Return the entries of a space with a single value.

    >>> from gradnoise_service.domain.space import Choices, Range
    >>> fixed({"lr": Range(low=0.1, high=1.0), "momentum": 0.9, "eta": Choices(choices=[1.0])})
    {'momentum': 0.9, 'eta': 1.0}
    """
    varied = searched(space)
    return {name: points(entry)[0] for name, entry in space.items() if name not in varied}


ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    extensions=[RootedPaths],
)
ENVIRONMENT.trim_blocks = ENVIRONMENT.lstrip_blocks = True
ENVIRONMENT.filters |= {
    "number": number,
    "signed": signed,
    "confidence": confidence,
    "count": count,
    "length_of": length,
    "duration": duration,
    "moment": moment,
    "words": as_words,
    "techniques": techniques,
    "space": space,
    "searched": searched,
    "fixed": fixed,
    "value": given,
    "waits_for": waits_for,
    "noise_ratio": noise_ratio,
    "arm_error": arm_error,
    "legal_range": range_in_words,
    "legal_metric": metric_in_words,
    "legal_option": option_in_words,
    "legal_rule": rule_in_words,
}
