"""The fields of a submitted form."""

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import Depends
from starlette.exceptions import HTTPException
from starlette.requests import Request

FORM_TYPE = "application/x-www-form-urlencoded"
MAX_FIELDS = 1000
ACCEPTS_CHANGED_CODE = "accept_changed_code"
"""The box of a form that is refused while the study's code differs from what it ran."""


async def _form(request: Request) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip() != FORM_TYPE:
        raise HTTPException(415, f"A form requires the Content-Type {FORM_TYPE}.")
    return await request.body()


def _fields(form: Annotated[bytes, Depends(_form)]) -> dict[str, str]:
    """Parse a form, in a thread, so that a large one delays no other request."""
    try:
        fields = parse_qs(form.decode("utf-8", "replace"), max_num_fields=MAX_FIELDS)
    except ValueError:
        raise HTTPException(413, f"A form has at most {MAX_FIELDS} fields.") from None
    return {name: values[0] for name, values in fields.items()}


Fields = Annotated[dict[str, str], Depends(_fields)]
"""The first value of each field, by name."""
