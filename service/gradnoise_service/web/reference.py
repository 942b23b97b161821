"""The API reference as a page, generated from the OpenAPI document; it needs no network."""

from typing import Any

from fastapi import APIRouter, Response
from starlette.requests import Request

from gradnoise_service.api.problem_kinds import KINDS_BY_ERROR, KINDS_BY_STATUS
from gradnoise_service.web.templating import render

router = APIRouter(include_in_schema=False)


@router.get("/docs")
def reference(request: Request) -> Response:
    """Show every operation with its parameters and responses, and every kind of problem."""
    document: dict[str, Any] = request.app.openapi()
    operations = [
        {"method": method.upper(), "path": path, **operation}
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    kinds = {*KINDS_BY_ERROR.values(), *KINDS_BY_STATUS.values()}
    return render(
        request,
        "reference.html",
        document=document,
        operations=operations,
        kinds=sorted(kinds, key=lambda kind: (kind.status, kind.slug)),
    )
