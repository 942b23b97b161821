"""Studies as the endpoints return them, and JSON responses that pydantic writes without a copy."""

import functools
from collections.abc import Iterable
from typing import Any

from fastapi import Response
from pydantic import TypeAdapter

from gradnoise_service.api.schemas import StudyOut
from gradnoise_service.domain.progress import Progress, QueuePlace
from gradnoise_service.domain.study import Study
from gradnoise_service.domain.trial_errors import ArmError
from gradnoise_service.usecases import studies
from gradnoise_service.usecases.service import Service
from gradnoise_service.usecases.studies import ShownStudy

N_CACHED = 512
JSON = "application/json"
ADDRESS: TypeAdapter[str | None] = TypeAdapter(str | None)
PROGRESS = TypeAdapter(Progress)


def shown(service: Service, study: Study) -> Response:
    """Return the response with a study that a request has changed."""
    return Response(as_json(service, studies.shown(service, study)), media_type=JSON)


def as_json(service: Service, found: ShownStudy) -> bytes:
    """Return a study in JSON; one that did not change is written once."""
    return _written(found.study, service.settings.dashboard_url, found.queue, found.errors)


def page_response(items: Iterable[bytes], next: str | None) -> Response:
    """Return the response with a page of items in JSON."""
    content = b'{"items":[%b],"next":%b}' % (b",".join(items), ADDRESS.dump_json(next))
    return Response(content, media_type=JSON)


def json_response(kind: TypeAdapter[Any], value: object) -> Response:
    """Return the response with a value, which is not validated: the service made it."""
    return Response(kind.dump_json(value), media_type=JSON)


@functools.lru_cache(N_CACHED)
def _written(
    study: Study, dashboard_url: str, queue: QueuePlace | None, errors: tuple[ArmError, ...]
) -> bytes:
    shown = StudyOut.of(study, dashboard_url, queue=queue, errors=errors)
    return shown.model_dump_json().encode()
