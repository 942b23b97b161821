"""Studies as the endpoints return them, and JSON responses that pydantic writes without a copy."""

import functools
from collections.abc import Sequence
from typing import Any

from fastapi import Response
from pydantic import TypeAdapter

from gradnoise_service.api.schemas import StudyOut
from gradnoise_service.domain.plan import Plan
from gradnoise_service.domain.progress import QueuePlace
from gradnoise_service.domain.study import Study
from gradnoise_service.domain.trial_errors import ArmError
from gradnoise_service.usecases import studies
from gradnoise_service.usecases.service import Service

N_CACHED = 512
JSON = "application/json"
ADDRESS: TypeAdapter[str | None] = TypeAdapter(str | None)


def shown(
    service: Service, found: Sequence[Study], plan: Plan | None = None, warnings: Sequence[str] = ()
) -> list[StudyOut]:
    """Return studies with their places in the queue and their first errors.

    Args:
        service: The service.
        found: The studies.
        plan: What a submitted study runs.
        warnings: What the installed packages leave unclear on it.
    """
    places, errors = studies.details(service, found)
    return [
        StudyOut.of(
            study,
            service.settings.dashboard_url,
            queue=places.get(study.id),
            plan=plan,
            warnings=warnings,
            errors=errors.get(study.id, ()),
        )
        for study in found
    ]


def as_json(service: Service, found: Sequence[Study]) -> list[bytes]:
    """Return studies as `shown` in JSON; one that did not change is written once."""
    places, errors = studies.details(service, found)
    url = service.settings.dashboard_url
    return [_written(study, url, places.get(study.id), errors.get(study.id, ())) for study in found]


def page_response(items: Sequence[bytes], next: str | None) -> Response:
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
