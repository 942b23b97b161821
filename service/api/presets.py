"""Ready studies."""

from typing import Annotated

from fastapi import APIRouter, Path

from service import presets
from service.api.auth import Reader
from service.api.problem import documented
from service.api.schemas import Items, PresetOut, PresetWithSpec
from service.domain.errors import NotFound
from service.domain.spec import StudySpec

router = APIRouter(tags=["presets"])


@router.get("/presets", summary="List the presets", responses=documented())
def list_presets(_caller: Reader) -> Items[PresetOut]:
    """Return the ready studies that come with the service."""
    return Items(items=[PresetOut(name=name, description=presets.describe(name)) for name in presets.names()])


@router.get("/presets/{name}", summary="Show a preset", responses=documented(404, 422))
def show(_caller: Reader, name: Annotated[str, Path(description="The preset's name.")]) -> PresetWithSpec:
    """Return a ready study with its spec."""
    if name not in presets.names():
        raise NotFound(f"There is no preset named {name!r}; there are {', '.join(presets.names())}.")
    return PresetWithSpec(name=name, description=presets.describe(name), spec=StudySpec.model_validate(presets.load(name)))
