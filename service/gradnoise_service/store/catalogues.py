"""The catalogue that the workers announce and submissions are checked against."""

import functools
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Text, cast, select
from sqlalchemy.orm import Session

from gradnoise_service.domain.catalogue import Catalogue
from gradnoise_service.domain.errors import CatalogueEmptyError
from gradnoise_service.store.prepared import Prepared, Transaction
from gradnoise_service.store.tables import CatalogueRow

ONLY = 1
TEXT = Prepared(select(cast(CatalogueRow.document, Text)).where(CatalogueRow.id == ONLY))


def publish(session: Session, document: Mapping[str, Any], now: datetime) -> None:
    """Store the announced document, replacing the previous one."""
    session.merge(CatalogueRow(id=ONLY, document=dict(document), published_at=now))


def read(session: Transaction) -> Catalogue:
    """Return the catalogue.

    Raises:
        CatalogueEmptyError: If no worker has announced one yet.
    """
    row = TEXT.first(session)
    if row is None:
        raise CatalogueEmptyError()
    return _parsed(*row)


@functools.lru_cache(2)
def _parsed(text: str) -> Catalogue:
    return Catalogue.of(json.loads(text))
