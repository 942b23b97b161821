"""Use cases on the code of studies."""

from gradnoise_service.domain.access import Caller
from gradnoise_service.domain.catalogue import Catalogue
from gradnoise_service.domain.errors import (
    CodeNotAllowedError,
    FieldFault,
    InvalidSpecError,
    NotFoundError,
)
from gradnoise_service.domain.source import Source, check_size
from gradnoise_service.store import catalogues, sources, studies
from gradnoise_service.usecases.service import Service


def keep(service: Service, caller: Caller, source: Source) -> None:
    """Store code that the caller's studies may name.

    Raises:
        CodeNotAllowedError: If the service takes no code.
        InvalidSpecError: If the code is too large, declares a name that is installed, or its
            announcement is malformed.
        CatalogueEmptyError: If no worker has announced its workloads.
    """
    if service.settings.allow_code == "nobody":
        raise CodeNotAllowedError()
    check_size(source.files)
    with service.database.session(write=True) as session:
        _check_announced(catalogues.read(session), source)
        sources.keep(session, source, owner=caller.owner, now=service.clock())


def of_study(service: Service, caller: Caller, study_id: int) -> Source:
    """Return the code of a study.

    Raises:
        NotFoundError: If there is no visible study with this id, or its workload is installed.
    """
    with service.database.session() as session:
        studies.describe(session, study_id, caller.visible_owner)
        source = sources.of_study(session, study_id)
    if source is None:
        raise NotFoundError(f"The workload of study {study_id} is installed: it has no code.")
    return source


def _check_announced(catalogue: Catalogue, source: Source) -> None:
    try:
        catalogue.including(source.announced)
    except (KeyError, TypeError, ValueError) as error:
        fault = FieldFault(
            field="announced",
            value=None,
            message=f"it is not as workers announce what they have ({type(error).__name__}: "
            f"{error})",
            legal="what `gradnoise run` sends for the file",
        )
        raise InvalidSpecError([fault]) from None
