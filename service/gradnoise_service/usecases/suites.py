"""Use cases on suites: list them, compare the studies of one, and compare any studies."""

from collections.abc import Sequence
from typing import Literal

from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.domain.access import Caller
from gradnoise_service.domain.errors import AmbiguousNameError, NotFoundError
from gradnoise_service.domain.study import Study
from gradnoise_service.domain.suite import SuiteCount
from gradnoise_service.store import studies
from gradnoise_service.usecases.service import Service

SuiteFormat = Literal["json", "html", "md"]


def list_all(service: Service, caller: Caller) -> Sequence[SuiteCount]:
    """Return the visible suites by name."""
    with service.database.session() as session:
        return studies.suites(session, caller.visible_owner)


def report(
    service: Service, caller: Caller, name: str, format: SuiteFormat, owner: str | None = None
) -> str:
    """Return the report of a suite as text.

    Args:
        service: The service.
        caller: Who requests it.
        name: The name of the suite.
        format: The format.
        owner: The owner of the suite; None if the caller sees a single suite of this name.

    Raises:
        NotFoundError: If no visible study belongs to a suite of this name.
        AmbiguousNameError: If several owners have one, of whom none is given.
    """
    members = _members(service, caller, name, owner)
    # imports numpy, which other requests do not need
    from gradnoise_service.compare.suite import compare_suite

    compared = compare_suite(name, members)
    # jinja2 and, for HTML, matplotlib are imported with the first report
    from gradnoise_service.report import suite

    match format:
        case "json":
            return suite.document(compared).model_dump_json()
        case "html":
            return suite.html(compared, members)
        case "md":
            return suite.markdown(compared)


def compare(service: Service, caller: Caller, ids: Sequence[int]) -> str:
    """Return the comparison of some studies as an HTML page with links to them.

    Args:
        service: The service.
        caller: Who requests it.
        ids: Of the studies, at least one.

    Raises:
        NotFoundError: If one of the studies is not visible.
    """
    with service.database.session() as session:
        found = [studies.get(session, study_id, caller.visible_owner) for study_id in ids]
    members = [(study, _stored(study)) for study in found]
    from gradnoise_service.compare.suite import compare_selection
    from gradnoise_service.report import suite

    return suite.html(compare_selection(members), members, has_links=True)


def _members(
    service: Service, caller: Caller, name: str, owner: str | None
) -> list[tuple[Study, Comparison | None]]:
    """Return the studies of a suite, each with its comparison; raises as `report`."""
    with service.database.session() as session:
        visible = studies.of_suite(session, name, caller.visible_owner)
    members = [study for study in visible if owner in (None, study.owner)]
    owners = sorted({study.owner for study in members})
    if not owners:
        raise NotFoundError(f"There is no suite named {name!r}.")
    if len(owners) > 1:
        raise AmbiguousNameError(name, owners)
    return [(study, _stored(study)) for study in members]


def _stored(study: Study) -> Comparison | None:
    """Return the comparison of a complete study."""
    return None if study.comparison is None else Comparison.model_validate(study.comparison)
