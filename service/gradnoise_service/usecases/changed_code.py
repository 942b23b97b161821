"""Whether the workers run the code with which a study ran."""

from collections.abc import Mapping

from gradnoise_service.domain.errors import CodeChangedError
from gradnoise_service.domain.study import Study
from gradnoise_service.store import catalogues
from gradnoise_service.store.database import Session


def check_code(session: Session, study: Study) -> None:
    """Raise CodeChangedError if parts of a study have other code now than when it ran."""
    ran = study.protocol.get("code_of")
    before = ran if isinstance(ran, Mapping) else {}
    now = catalogues.read(session).code_of
    changed = [part for part in before if now.get(part, before[part]) != before[part]]
    if changed:
        raise CodeChangedError(changed)
