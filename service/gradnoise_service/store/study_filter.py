"""The conditions of a filter on studies."""

import json
from collections.abc import Iterator

from sqlalchemy import ColumnElement, Text, cast, or_

from gradnoise_service.domain.remarks import StudyFilter
from gradnoise_service.store.tables import StudyRow


def admits(only: StudyFilter) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions on a study that the filter states."""
    for column, value in (
        (StudyRow.name, only.name),
        (StudyRow.state, only.state),
        (StudyRow.verdict, only.verdict),
        (StudyRow.workload, only.workload),
        (StudyRow.owner, only.owner),
    ):
        if value is not None:
            yield column == value
    tags = cast(StudyRow.tags, Text)  # a JSON list of lower-case words
    if only.tag is not None:
        yield tags.contains(json.dumps(only.tag), autoescape=True)
    if only.text is not None:
        searched = (StudyRow.name, StudyRow.note, tags)
        yield or_(*(each.icontains(only.text, autoescape=True) for each in searched))
