"""Use case: the list of studies with what its lines show beside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gradnoise_service.domain.access import Caller
from gradnoise_service.domain.progress import Progress, QueuePlace
from gradnoise_service.domain.remarks import StudyFilter
from gradnoise_service.domain.study_list import FilterChoices, Order, StudyLine
from gradnoise_service.domain.trial_errors import ArmError
from gradnoise_service.store import queue, studies, study_list, trials
from gradnoise_service.usecases.service import Service


@dataclass(frozen=True, kw_only=True)
class StudyList:
    """A page of the list of studies.

    Args:
        lines: The studies, in order.
        has_more: Whether more follow.
        progress: Of the studies that run, by id.
        places: Where queued studies stand, by id.
        errors: The first error of each arm that had one, by id of the study.
        choices: The values of the filters.
    """

    lines: Sequence[StudyLine]
    has_more: bool
    progress: Mapping[int, Progress]
    places: Mapping[int, QueuePlace]
    errors: Mapping[int, tuple[ArmError, ...]]
    choices: FilterChoices


def read(
    service: Service, caller: Caller, *, only: StudyFilter, order: Order, skip: int, limit: int
) -> StudyList:
    """Return up to `limit` of the visible studies that a filter admits, from the `skip`-th on."""
    now = service.clock()
    with service.database.session() as session:
        found = study_list.lines(
            session, owner=caller.visible_owner, only=only, order=order, skip=skip, limit=limit + 1
        )
        lines = found[:limit]
        running = [line.id for line in lines if line.state == "running"]
        queued = [line.id for line in lines if line.state == "queued"]
        return StudyList(
            lines=lines,
            has_more=len(found) > limit,
            progress={id: studies.progress(session, id, now) for id in running},
            places=queue.places(session, now, queued) if queued else {},
            errors=trials.first_errors(session, [line.id for line in lines]),
            choices=study_list.choices(session, caller.visible_owner),
        )
