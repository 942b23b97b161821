"""Endpoints of the files that trials have saved."""

from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import StreamingResponse

from gradnoise_service.api.auth import Reader
from gradnoise_service.api.parameters import OfTrial, StudyId, TrialId
from gradnoise_service.api.problem import documented
from gradnoise_service.api.schemas import Items
from gradnoise_service.api.state import CurrentService
from gradnoise_service.domain.study import TrialFile
from gradnoise_service.usecases import files

router = APIRouter(prefix="/v1", tags=["trials"])

FileName = Annotated[
    str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="The file's name.")
]
CONTENT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The content.",
        "content": {"application/octet-stream": {"schema": {"type": "string"}}},
    }
}


@router.get(
    "/studies/{study_id}/files",
    summary="List the files of a study",
    responses=documented(404, 422),
)
def list_files(
    caller: Reader, service: CurrentService, study_id: StudyId, trial: OfTrial = None
) -> Items[TrialFile]:
    """Return the files that trials have saved, with size and SHA-256."""
    return Items(items=files.listed(service, caller, study_id, trial))


@router.get(
    "/studies/{study_id}/trials/{trial_id}/files/{name}",
    summary="Download a file of a trial",
    response_class=StreamingResponse,
    responses=CONTENT | documented(404, 409, 422),
)
def download(
    caller: Reader, service: CurrentService, study_id: StudyId, trial_id: TrialId, name: FileName
) -> StreamingResponse:
    """Return the content of a file."""
    file, parts = files.content(service, caller, study_id, trial_id, name)
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Content-Length": str(file.n_bytes),
        "ETag": f'"{file.sha256}"',
    }
    return StreamingResponse(parts, media_type="application/octet-stream", headers=headers)
