"""Use case: what the workers announced that they can train."""

from gradnoise_service.domain.catalogue import Catalogue
from gradnoise_service.store import catalogues
from gradnoise_service.usecases.service import Service


def announced(service: Service) -> Catalogue:
    """Return the announced workloads, techniques and optimizers.

    Raises:
        CatalogueEmptyError: If no worker has announced its workloads.
    """
    with service.database.session() as session:
        return catalogues.read(session)
