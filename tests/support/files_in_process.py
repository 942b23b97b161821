"""Files of a user's own, read and checked in this process in place of another."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from gradnoise_service.local.errors import SourceFileError
from gradnoise_workers.source import SourceError
from gradnoise_workers.source.__main__ import answered


def answers(request: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    """Yield what the other process would answer, as JSON values."""
    try:
        for answer in answered(json.loads(json.dumps(request))):
            yield json.loads(json.dumps(answer))
    except SourceError as error:
        raise SourceFileError(error.message, error.hint, error.trace) from None
