"""Studies as the endpoints return them."""

from collections.abc import Sequence

from gradnoise_service.api.schemas import StudyOut
from gradnoise_service.domain.plan import Plan
from gradnoise_service.domain.study import Study
from gradnoise_service.usecases import studies
from gradnoise_service.usecases.service import Service


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
    places, errors = studies.places(service, found), studies.first_errors(service, found)
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
