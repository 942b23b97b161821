"""Fills the templates of the pages: everything escaped, nothing undefined, numbers and times as
people read them.
"""

from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse

FOLDER = Path(__file__).parent


def render(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a page; the template sees the request's path and whether there is a login to leave."""
    text = ENVIRONMENT.get_template(template).render(path=request.url.path, **values)
    return HTMLResponse(text, status)


def number(value: float | str | None) -> str:
    """Return a value as a table shows it: four digits are enough.

    >>> number(0.0123456), number(12), number(None), number("relu")
    ('0.01235', '12', '–', 'relu')
    """
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def duration(seconds: float | None) -> str:
    """Return a span of time in the two units that matter.

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


def moment(at: datetime | None) -> str:
    return "–" if at is None else at.strftime("%Y-%m-%d %H:%M UTC")


def words(name: str) -> str:
    """Return a name from the code as words: `no_difference` as `no difference`."""
    return name.replace("_", " ")


ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
)
ENVIRONMENT.trim_blocks = ENVIRONMENT.lstrip_blocks = True
ENVIRONMENT.filters |= {"number": number, "duration": duration, "moment": moment, "words": words}
