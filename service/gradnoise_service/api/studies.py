"""Studies: submit, list, show, progress, cancel."""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Header, Path, Query, Response

from gradnoise_service import presets
from gradnoise_service.api.auth import Caller, Reader, Submitter
from gradnoise_service.api.body import Content, read_spec
from gradnoise_service.api.problem import documented
from gradnoise_service.api.schemas import MAX_ID, ExtensionIn, Page, StudyOut
from gradnoise_service.api.service import CurrentService, Service
from gradnoise_service.domain import legal
from gradnoise_service.domain.errors import NotFoundError
from gradnoise_service.domain.progress import Progress
from gradnoise_service.domain.study import Study, StudyState
from gradnoise_service.store import catalogues, studies

router = APIRouter(tags=["studies"])

StudyId = Annotated[int, Path(ge=1, le=MAX_ID, description="The study's id.")]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="Names this submission: sent again, it submits once.",
    ),
]
State = Annotated[StudyState | None, Query(description="Only studies in this state.")]
Name = Annotated[
    str | None,
    Query(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,79}$", description="Only the study of this name."
    ),
]
Before = Annotated[
    int | None, Query(ge=1, le=MAX_ID, description="Only studies with an id below this one.")
]
Limit = Annotated[int, Query(ge=1, le=100, description="Most studies to return.")]

SPEC_SCHEMA = {"$ref": "#/components/schemas/StudySpec"}
SPEC_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": SPEC_SCHEMA,
                "examples": {
                    "demo": {"summary": "The preset demo", "value": presets.load("demo")[0]}
                },
            },
            "application/yaml": {"schema": SPEC_SCHEMA},
        },
    }
}
REPLAYED: dict[int | str, dict[str, Any]] = {
    200: {"model": StudyOut, "description": "The study that this Idempotency-Key submitted before."}
}


@router.post(
    "/studies",
    status_code=201,
    summary="Submit a study",
    responses=REPLAYED | documented(400, 409, 413, 415, 422, 503),
    openapi_extra=SPEC_BODY,
)
def submit(
    caller: Submitter,
    content: Content,
    service: CurrentService,
    response: Response,
    key: Key = None,
) -> StudyOut:
    """Check a study against what the workers can train, store it and queue it. A study with any
    fault is refused whole.
    """
    spec = read_spec(content)
    if spec.confirm.power is not None or spec.confirm.looks:
        # numpy is loaded with the first study that asks for it
        from gradnoise_service.compare.design import planned

        spec = planned(spec)
    now = service.clock()
    with service.database.session(write=True) as session:
        metric = legal.check(catalogues.read(session), spec, service.settings.max_trials)
        study = studies.submit(
            session, spec, metric, owner=caller.owner, now=now, idempotency_key=key
        )
    # an older one is the answer to the same key
    response.status_code = 201 if study.created_at == now else 200
    shown = _shown(study, service)
    response.headers["Location"] = shown.links.self
    return shown


@router.get("/studies", summary="List studies, newest first", responses=documented(422))
def list_studies(
    caller: Reader,
    service: CurrentService,
    before: Before = None,
    limit: Limit = 50,
    state: State = None,
    name: Name = None,
) -> Page[StudyOut]:
    """Return a page of the studies that the caller may see, or the one of a name."""
    if name is not None:
        return Page(items=_of_name(name, caller, service), next=None)
    with service.database.session() as session:
        found = studies.page(
            session, owner=caller.sees, before=before, limit=limit + 1, state=state
        )
    more = (
        {"before": found[limit - 1].id, "limit": limit, "state": state}
        if len(found) > limit
        else None
    )
    return Page(
        items=[_shown(study, service) for study in found[:limit]], next=address("/v1/studies", more)
    )


@router.get("/studies/{study_id}", summary="Show a study", responses=documented(404, 422))
def show(caller: Reader, service: CurrentService, study_id: StudyId) -> StudyOut:
    """Return a study as submitted, its state and its verdict."""
    with service.database.session() as session:
        return _shown(studies.get(session, study_id, caller.sees), service)


@router.get(
    "/studies/{study_id}/progress",
    summary="Show how far a study is",
    responses=documented(404, 422),
)
def progress(caller: Reader, service: CurrentService, study_id: StudyId) -> Progress:
    """Return the counts of each arm in each phase, the best values so far, and an estimate of the
    time left, in seconds.
    """
    with service.database.session() as session:
        studies.get(session, study_id, caller.sees)
        return studies.progress(session, study_id, service.clock())


@router.post(
    "/studies/{study_id}/cancel", summary="Cancel a study", responses=documented(404, 409, 422)
)
def cancel(caller: Submitter, service: CurrentService, study_id: StudyId) -> StudyOut:
    """End a study now; what its trials have measured stays."""
    with service.database.session(write=True) as session:
        return _shown(studies.cancel(session, study_id, caller.sees, service.clock()), service)


@router.post(
    "/studies/{study_id}/extend", summary="Extend a study", responses=documented(404, 409, 422)
)
def extend(
    caller: Submitter,
    service: CurrentService,
    study_id: StudyId,
    wanted: ExtensionIn,
    key: Key = None,
) -> StudyOut:
    """Queue a complete study again for more confirm seeds. Nothing runs twice: the new runs join
    the old ones, and the verdict is given anew. The verdict so far is kept with the study: each
    look is one more chance to err, and the report says what that comes to.
    """
    most = service.settings.max_trials
    with service.database.session(write=True) as session:
        study = studies.extend(
            session,
            study_id,
            caller.sees,
            wanted.seeds,
            max_trials=most,
            now=service.clock(),
            idempotency_key=key,
        )
    return _shown(study, service)


def address(path: str, query: Mapping[str, Any] | None) -> str | None:
    """Return the address of a page's next part, without what is None; None if there is none."""
    return (
        None
        if query is None
        else f"{path}?{urlencode({name: value for name, value in query.items() if value is not None})}"
    )


def _of_name(name: str, caller: Caller, service: Service) -> list[StudyOut]:
    try:
        with service.database.session() as session:
            return [_shown(studies.find(session, name, caller.sees), service)]
    except NotFoundError:
        return []


def _shown(study: Study, service: Service) -> StudyOut:
    return StudyOut.of(study, service.settings.dashboard_url)
