"""The catalogue as a page: what the workers can train, and what they cannot."""

from fastapi import APIRouter, Response
from starlette.requests import Request

from gradnoise_service.api.auth import Reader
from gradnoise_service.api.state import CurrentService
from gradnoise_service.domain.errors import CatalogueEmptyError
from gradnoise_service.usecases import workloads
from gradnoise_service.web.templating import render

router = APIRouter(include_in_schema=False)


@router.get("/catalogue")
def show(_caller: Reader, service: CurrentService, request: Request) -> Response:
    """Show workloads, techniques and optimizers with what a study can choose of each."""
    try:
        announced = workloads.announced(service)
    except CatalogueEmptyError:
        announced = None
    return render(request, "catalogue.html", announced=announced)
