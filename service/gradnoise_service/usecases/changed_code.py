"""Whether the workers run the code with which a study ran."""

from collections.abc import Mapping

from gradnoise_service.domain.errors import CodeChangedError
from gradnoise_service.domain.study import Study
from gradnoise_service.store import catalogues
from gradnoise_service.store.database import Session
from gradnoise_service.usecases.service import Service


def of_study(service: Service, study: Study) -> list[str]:
    """Return the parts of a study that have other code now than when it ran."""
    with service.database.session() as session:
        return _changed(session, study)


def check_code(session: Session, study: Study) -> None:
    """Raise CodeChangedError if parts of a study have other code now than when it ran."""
    if changed := _changed(session, study):
        raise CodeChangedError(changed)


def _changed(session: Session, study: Study) -> list[str]:
    ran = study.protocol.get("code_of")
    before = ran if isinstance(ran, Mapping) else {}
    now = catalogues.read(session).code_of
    return [part for part in before if now.get(part, before[part]) != before[part]]
