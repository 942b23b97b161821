"""Endpoints of studies: submit, list, show, progress, remark, extend."""

import json
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Response

from gradnoise_service import presets
from gradnoise_service.api.auth import Reader, Submitter
from gradnoise_service.api.body import Content, read_spec
from gradnoise_service.api.direct import DirectRoute
from gradnoise_service.api.pagination import next_address
from gradnoise_service.api.parameters import MAX_ID, IdempotencyKey, StudyId
from gradnoise_service.api.problem import documented
from gradnoise_service.api.reports import as_response, preferred_format
from gradnoise_service.api.schemas import ExtensionIn, Page, StudyOut
from gradnoise_service.api.shown import JSON, PROGRESS, as_json, json_response, page_response, shown
from gradnoise_service.api.state import CurrentService
from gradnoise_service.domain.progress import Progress
from gradnoise_service.domain.remarks import TAG_PATTERN, Remarks, StudyFilter
from gradnoise_service.domain.spec import NAME_PATTERN
from gradnoise_service.domain.study import StudyState, Verdict
from gradnoise_service.study_text import dump_yaml
from gradnoise_service.usecases import studies

router = APIRouter(prefix="/v1", tags=["studies"], route_class=DirectRoute)

State = Annotated[StudyState | None, Query(description="Only studies in this state.")]
HasVerdict = Annotated[
    Verdict | None, Query(alias="verdict", description="Only studies with this verdict.")
]
Workload = Annotated[
    str | None, Query(max_length=200, description="Only studies of this workload.")
]
Owner = Annotated[str | None, Query(max_length=80, description="Only studies of this owner.")]
HasTag = Annotated[
    str | None,
    Query(alias="tag", pattern=TAG_PATTERN, description="Only studies with this tag."),
]
Text = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=200,
        description="Only studies with this text in their name, note or tags, in either case.",
    ),
]
Name = Annotated[
    str | None,
    Query(
        pattern=NAME_PATTERN,
        description="Only studies with this name, of which an owner has at most one.",
    ),
]
Before = Annotated[
    int | None, Query(ge=1, le=MAX_ID, description="Only studies with an id below this id.")
]
Limit = Annotated[int, Query(ge=1, le=100, description="Maximum number of studies.")]
SubmissionDryRun = Annotated[
    bool, Query(description="Return the study as it would be stored, and store nothing.")
]
DryRun = Annotated[
    bool, Query(description="Return the study as it would be extended, and store nothing.")
]

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
CLONE_FORMATS: dict[str, Literal["json", "yaml"]] = {
    "application/json": "json",
    "application/yaml": "yaml",
}
CLONED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The study, which can be submitted.",
        "content": {
            "application/json": {"schema": SPEC_SCHEMA},
            "application/yaml": {"schema": SPEC_SCHEMA},
        },
    }
}
REPLAYED: dict[int | str, dict[str, Any]] = {
    200: {
        "model": StudyOut,
        "description": "The study of a dry run, or that this Idempotency-Key submitted before.",
    }
}


@router.post(
    "/studies",
    status_code=201,
    response_model=StudyOut,
    summary="Submit a study",
    responses=REPLAYED | documented(400, 409, 413, 415, 422, 503),
    openapi_extra=SPEC_BODY,
)
def submit(
    caller: Submitter,
    content: Content,
    service: CurrentService,
    key: IdempotencyKey = None,
    dry_run: SubmissionDryRun = False,
) -> Response:
    """Check a study against the workloads that the workers announced, store it and queue it.

    A study with any fault is refused as a whole.
    """
    submission = studies.submit(service, caller, read_spec(content), key, is_dry_run=dry_run)
    study = StudyOut.of(
        submission.shown.study,
        service.settings.dashboard_url,
        queue=submission.shown.queue,
        errors=submission.shown.errors,
        plan=submission.plan,
        warnings=submission.warnings,
    )
    return Response(
        study.model_dump_json(),
        status_code=201 if submission.is_new and not dry_run else 200,
        headers={} if dry_run else {"Location": study.links.self},
        media_type=JSON,
    )


@router.get(
    "/studies",
    response_model=Page[StudyOut],
    summary="List studies, newest first",
    responses=documented(422),
)
def list_studies(
    caller: Reader,
    service: CurrentService,
    before: Before = None,
    limit: Limit = 50,
    state: State = None,
    verdict: HasVerdict = None,
    workload: Workload = None,
    owner: Owner = None,
    tag: HasTag = None,
    text: Text = None,
    name: Name = None,
) -> Response:
    """Return a page of the studies that the caller may see."""
    only = StudyFilter(
        name=name,
        state=state,
        verdict=verdict,
        workload=workload,
        owner=owner,
        tag=tag,
        text=text,
    )
    found = studies.page(service, caller, before=before, limit=limit, only=only)
    filters = {"limit": limit, **asdict(only)}
    following = next_address("/v1/studies", {"before": found.last_id}, filters)
    return page_response((as_json(service, study) for study in found.items), following)


@router.get(
    "/studies/{study_id}",
    response_model=StudyOut,
    summary="Show a study",
    responses=documented(404, 422),
)
def show(caller: Reader, service: CurrentService, study_id: StudyId) -> Response:
    """Return a study as submitted, with its state and its verdict."""
    found = studies.show_with_place(service, caller, study_id)
    return Response(as_json(service, found), media_type=JSON)


@router.patch(
    "/studies/{study_id}",
    response_model=StudyOut,
    summary="Change a study's tags or note",
    responses=documented(400, 404, 413, 415, 422),
)
def remark(
    caller: Submitter, service: CurrentService, study_id: StudyId, remarks: Remarks
) -> Response:
    """Replace the tags of a study, its note, or both, in any state.

    They are no part of its spec, so that its hash stays.
    """
    return shown(service, studies.remark(service, caller, study_id, remarks))


@router.get(
    "/studies/{study_id}/progress",
    response_model=Progress,
    summary="Show a study's progress",
    responses=documented(404, 422),
)
def progress(caller: Reader, service: CurrentService, study_id: StudyId) -> Response:
    """Return the counts and the best value of each arm in each phase, and the time left.

    The time left is an estimate, in seconds.
    """
    return json_response(PROGRESS, studies.progress(service, caller, study_id))


@router.delete(
    "/studies/{study_id}",
    status_code=204,
    summary="Delete a study",
    responses=documented(404, 409, 422),
)
def delete(caller: Submitter, service: CurrentService, study_id: StudyId) -> None:
    """Delete a study for good, with its trials, logs, files and Optuna studies.

    A study that runs is refused. The answer comes when the study is no longer shown; its files,
    checkpoints and Optuna studies are removed by a dispatcher.
    """
    studies.delete(service, caller, study_id)


@router.get(
    "/studies/{study_id}/clone",
    summary="Copy a study's declaration",
    response_class=Response,
    responses=CLONED | documented(404, 406, 422),
)
def clone(
    caller: Reader,
    service: CurrentService,
    study_id: StudyId,
    accept: Annotated[str, Header(description="JSON or YAML; JSON by default.")] = "*/*",
    format: Annotated[
        Literal["json", "yaml"] | None, Query(description="Overrides Accept.")
    ] = None,
) -> Response:
    """Return the study under a free name, to be changed and submitted; nothing is stored.

    What equals a default is left out, and so are the extensions.
    """
    chosen = preferred_format(accept, CLONE_FORMATS) if format is None else format
    values = studies.clone(service, caller, study_id)
    if chosen == "json":
        return as_response(json.dumps(values), "application/json")
    return as_response(dump_yaml(values), "application/yaml")


@router.post(
    "/studies/{study_id}/extend",
    response_model=StudyOut,
    summary="Extend a study",
    responses=documented(400, 404, 409, 413, 415, 422),
)
def extend(
    caller: Submitter,
    service: CurrentService,
    study_id: StudyId,
    extension: ExtensionIn,
    key: IdempotencyKey = None,
    dry_run: DryRun = False,
) -> Response:
    """Queue a complete study again with more confirm seeds, or epochs of each confirm run.

    The existing runs are kept, and the verdict is computed again over all runs. With `epochs`, the
    runs that finished continue from their kept state. The earlier verdict
    is stored with the study, because each look increases the probability of an error, to
    `false_verdict_chance`; with `confirm.anytime` it stays at 5 %.
    """
    extended = studies.extend(
        service,
        caller,
        study_id,
        extension.seeds,
        key,
        n_epochs=extension.epochs,
        is_dry_run=dry_run,
        accepts_changed_code=extension.accept_changed_code,
    )
    return shown(service, extended)
