"""The catalogue is the document that was published last."""

from collections.abc import Mapping
from datetime import datetime

import pytest

from gradnoise_service.domain.errors import CatalogueEmptyError
from gradnoise_service.store import catalogues
from gradnoise_service.store.database import Database


def test_the_last_document_replaces_earlier_ones(
    database: Database, catalogue_document: Mapping[str, object], now: datetime
) -> None:
    with database.session() as session, pytest.raises(CatalogueEmptyError):
        catalogues.read(session)
    for document in (catalogue_document, {**catalogue_document, "techniques": []}):
        with database.session(write=True) as session:
            catalogues.publish(session, document, now)
    with database.session() as session:
        catalogue = catalogues.read(session)
    assert set(catalogue.workloads) == {"mlp"}
    assert catalogue.techniques == {}
