"""The OpenAPI document, with the schemas that bodies, reports and problems refer to."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from gradnoise_service.api.problem import Problem
from gradnoise_service.domain.spec import StudySpec


def install(app: FastAPI) -> None:
    """Make an app serve the document; it is computed at the first request."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    # the extension point that FastAPI documents
    app.openapi = openapi  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    # loads numpy, which other requests do not need
    from gradnoise_service.report.document import Report
    from gradnoise_service.report.suite import SuiteReport

    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    schemas = document["components"]["schemas"]
    for model in (Problem, StudySpec, Report, SuiteReport):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}]
    if root_path := app.state.service.settings.root_path:
        document["servers"] = [{"url": root_path}]
    return document
