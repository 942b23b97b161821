"""The page that submits a study: a form and its YAML, each made from the other."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from starlette.requests import Request
from starlette.responses import RedirectResponse

from gradnoise_service import presets
from gradnoise_service.api.auth import Submitter
from gradnoise_service.api.body import read_yaml, spec_of
from gradnoise_service.api.parameters import MAX_ID
from gradnoise_service.api.state import CurrentService
from gradnoise_service.domain.access import Caller
from gradnoise_service.domain.catalogue import Catalogue
from gradnoise_service.domain.errors import (
    CatalogueEmptyError,
    FieldFault,
    InvalidSpecError,
    NameTakenError,
    NotFoundError,
)
from gradnoise_service.study_text import MalformedStudyError, dump_yaml
from gradnoise_service.usecases import studies, workloads
from gradnoise_service.usecases.service import Service
from gradnoise_service.usecases.studies import Submission
from gradnoise_service.web.forms import Fields
from gradnoise_service.web.space_text import SYNTAX
from gradnoise_service.web.study_form import StudyForm, edited, form_of, with_arm, without_arm
from gradnoise_service.web.templating import render_page

router = APIRouter(include_in_schema=False)

FIRST_PRESET = "demo"


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A study that is being written: its YAML, its plain values, and why it cannot run yet."""

    yaml: str
    values: Mapping[str, Any]
    submission: Submission | None = None
    faults: Sequence[FieldFault] = ()


@router.get("/submit")
def write(
    caller: Submitter,
    service: CurrentService,
    request: Request,
    preset: Annotated[str, Query(max_length=100)] = FIRST_PRESET,
    member: Annotated[int, Query(ge=0, le=1000)] = 0,
    study: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
) -> Response:
    """Show the form of a preset, or of an existing study under a free name."""
    if study is not None:
        yaml = dump_yaml(studies.clone(service, caller, study))
    else:
        yaml = _preset(preset, member)
    draft = _checked(service, caller, yaml)
    return _page(request, service, caller, draft, key=uuid.uuid4().hex, preset=preset)


@router.post("/submit")
def submit(caller: Submitter, service: CurrentService, request: Request, form: Fields) -> Response:
    """Submit the study, or show its form and its YAML again, each made from the other.

    The YAML is the source where it was edited, else the form.
    """
    yaml, shown = (form.get(name, "").replace("\r\n", "\n") for name in ("yaml", "shown"))
    action, key = form.get("action", ""), form.get("key") or uuid.uuid4().hex
    if yaml.strip() == shown.strip():
        yaml = _from_form(service, yaml, form, action)
    if action != "submit":
        return _page(request, service, caller, _checked(service, caller, yaml), key=key)
    draft = _checked(service, caller, yaml, key[:200])
    if draft.submission is None:
        return _page(request, service, caller, draft, key=key, status=422)
    return RedirectResponse(f"/studies/{draft.submission.shown.id}", status_code=303)


def _from_form(service: Service, yaml: str, form: Mapping[str, str], action: str) -> str:
    """Return the YAML with the changes of the form; as it is where it cannot be read."""
    try:
        before = read_yaml(yaml)
    except MalformedStudyError:
        return yaml
    values = edited(before, _catalogue(service), form)
    if action == "add_arm":
        values = with_arm(values)
    if action.startswith("remove_arm.") and action.removeprefix("remove_arm.").isdecimal():
        values = without_arm(values, int(action.removeprefix("remove_arm.")))
    return yaml if values == before else dump_yaml(values)


def _checked(service: Service, caller: Caller, yaml: str, key: str | None = None) -> Draft:
    """Return the draft of a YAML text with what it would run, or with its faults.

    With a key of idempotency, the study is submitted if it has none.
    """
    try:
        values = read_yaml(yaml)
    except MalformedStudyError as error:
        return Draft(yaml=yaml, values={}, faults=[_fault("YAML", str(error))])
    try:
        spec = spec_of(values)
        submission = studies.submit(service, caller, spec, key, is_dry_run=key is None)
    except InvalidSpecError as error:
        return Draft(yaml=yaml, values=values, faults=error.errors)
    except NameTakenError as error:
        legal = f"another name, such as {error.free_name}"
        fault = FieldFault(
            field="name", value=error.name, message="another study has this name", legal=legal
        )
        return Draft(yaml=yaml, values=values, faults=[fault])
    except CatalogueEmptyError as error:
        return Draft(yaml=yaml, values=values, faults=[_fault("workload", str(error))])
    return Draft(yaml=yaml, values=values, submission=submission)


def _page(
    request: Request,
    service: Service,
    caller: Caller,
    draft: Draft,
    *,
    key: str,
    preset: str = FIRST_PRESET,
    status: int = 200,
) -> Response:
    form = (
        form_of(draft.values, _catalogue(service), draft.faults)
        if draft.values
        else StudyForm(sections=())
    )
    return render_page(
        request,
        service,
        caller,
        "submit.html",
        status=status,
        draft=draft,
        form=form,
        key=key,
        preset=preset,
        presets={name: _members(name) for name in presets.names()},
        syntax=SYNTAX,
    )


def _preset(name: str, member: int) -> str:
    """Return the YAML of a study of a preset.

    Raises:
        NotFoundError: If there is no such study.
    """
    if name not in presets.names() or member >= len(_members(name)):
        raise NotFoundError(f"There is no preset {name!r} with a study {member}.")
    if len(_members(name)) == 1 and presets.find_table(name) is None:
        return presets.text(name)
    return dump_yaml(presets.load(name)[member])


@cache
def _members(name: str) -> list[str]:
    return [str(study["name"]) for study in presets.load(name)]


def _catalogue(service: Service) -> Catalogue:
    try:
        return workloads.announced(service)
    except CatalogueEmptyError:
        return Catalogue(workloads={}, techniques={}, optimizers={}, protocol={})


def _fault(field: str, message: str) -> FieldFault:
    return FieldFault(field=field, value=None, message=message, legal="")
