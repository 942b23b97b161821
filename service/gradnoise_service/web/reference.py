"""The reference of the REST API as one page, made from the OpenAPI document; it needs nothing from
the network.
"""

from typing import Any

from fastapi import APIRouter, Response
from starlette.requests import Request

from gradnoise_service.api.problem import OF_ERROR, OF_STATUS
from gradnoise_service.web.templating import render

router = APIRouter(include_in_schema=False)


@router.get("/docs")
def reference(request: Request) -> Response:
    """Show every address with its parameters and answers, and every problem with what to do about
    it.
    """
    document: dict[str, Any] = request.app.openapi()
    operations = [
        {"method": method.upper(), "path": path, **operation}
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    kinds = sorted(
        {*OF_ERROR.values(), *OF_STATUS.values()}, key=lambda kind: (kind.status, kind.slug)
    )
    return render(
        request,
        "reference.html",
        needs_tokens=False,
        document=document,
        operations=operations,
        kinds=kinds,
    )
