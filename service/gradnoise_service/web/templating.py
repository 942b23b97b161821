"""Renders the templates of the pages, with all values escaped and no undefined names."""

from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse

FOLDER = Path(__file__).parent


def render(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page; the template gets the values and the path of the request."""
    text = ENVIRONMENT.get_template(template).render(path=request.url.path, **values)
    return HTMLResponse(text, status)


def number(value: float | str | None) -> str:
    """Return a value with four significant digits, `–` for none.

    >>> number(0.0123456), number(12), number(None), number("relu")
    ('0.01235', '12', '–', 'relu')
    """
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def duration(seconds: float | None) -> str:
    """Return a duration in its two largest units, `–` for none.

    >>> duration(8), duration(200), duration(7500), duration(None)
    ('8 s', '3 min 20 s', '2 h 5 min', '–')
    """
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def utc_time(at: datetime | None) -> str:
    """Return a UTC time to the minute, `–` for none."""
    return "–" if at is None else at.strftime("%Y-%m-%d %H:%M UTC")


def words(name: str) -> str:
    """Return a name with spaces in place of underscores: `no difference` for `no_difference`."""
    return name.replace("_", " ")


ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
)
ENVIRONMENT.trim_blocks = ENVIRONMENT.lstrip_blocks = True
ENVIRONMENT.filters |= {
    "number": number,
    "duration": duration,
    "utc_time": utc_time,
    "words": words,
}
