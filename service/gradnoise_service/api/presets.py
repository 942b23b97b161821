"""Endpoints of the presets."""

import functools
from typing import Annotated

from fastapi import APIRouter, Path, Query

from gradnoise_service import presets
from gradnoise_service.api.auth import Reader
from gradnoise_service.api.problem import documented
from gradnoise_service.api.schemas import Items, PresetOut, PresetWithStudies
from gradnoise_service.domain.errors import NotFoundError
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.presets import FULL

router = APIRouter(prefix="/v1", tags=["presets"])


@router.get("/presets", summary="List the presets", responses=documented())
def list_presets(_caller: Reader) -> Items[PresetOut]:
    """Return the studies that are ready to submit, and the tables of the paper."""
    return Items(items=[_described(name) for name in presets.names()])


@router.get("/presets/{name}", summary="Show a preset", responses=documented(404, 422))
def show(
    _caller: Reader,
    name: Annotated[str, Path(description="The preset's name.")],
    scale: Annotated[str, Query(description="The scale of a paper table.")] = FULL,
    row: Annotated[str | None, Query(description="A row of a paper table; all by default.")] = None,
) -> PresetWithStudies:
    """Return a preset with its studies."""
    if name not in presets.names():
        known = ", ".join(presets.names())
        raise NotFoundError(f"There is no preset named {name!r}; legal: {known}.")
    studies = [StudySpec.model_validate(plain) for plain in presets.load(name, scale, row)]
    return PresetWithStudies(**dict(_described(name)), studies=studies)


@functools.cache
def _described(name: str) -> PresetOut:
    return PresetOut(
        name=name,
        description=presets.describe(name),
        n_studies=len(presets.load(name)),
        scales=presets.scales(name),
    )
