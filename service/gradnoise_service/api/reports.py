"""The report of a study: the stored comparison of one that is complete, or an interim one of what
there is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Response
from starlette.exceptions import HTTPException

from gradnoise_service.api.auth import Reader
from gradnoise_service.api.problem import documented
from gradnoise_service.api.service import CurrentService
from gradnoise_service.api.studies import StudyId
from gradnoise_service.domain.errors import NotFoundError, ReportNotReadyError
from gradnoise_service.domain.study import EpochMean, Study, Trial
from gradnoise_service.store import measurements, studies, trials

router = APIRouter(tags=["report"])

Format = Literal["json", "html", "md", "csv", "tex"]
MEDIA_TYPES: dict[str, Format] = {
    "application/json": "json",
    "text/html": "html",
    "text/markdown": "md",
    "text/csv": "csv",
    "application/x-tex": "tex",
}
Image = Literal["svg", "png"]
IMAGES: dict[Image, str] = {"svg": "image/svg+xml", "png": "image/png"}
FigureName = Literal[
    "confirm",
    "difference",
    "best_so_far",
    "learning_rate",
    "noise_map",
    "importance",
    "course",
    "noise_course",
]
VARY = {"Vary": "Accept"}
HTML_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action "
    "'none'; frame-ancestors 'none'"
)
"""The report carries its styles within itself and runs no script."""

SCHEMAS: dict[Format, dict[str, str]] = {
    "json": {"$ref": "#/components/schemas/Comparison"},
    "html": {"type": "string"},
    "md": {"type": "string"},
    "csv": {"type": "string"},
    "tex": {"type": "string"},
}
SHOWN: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The comparison.",
        "content": {name: {"schema": SCHEMAS[kind]} for name, kind in MEDIA_TYPES.items()},
    }
}


@router.get(
    "/studies/{study_id}/report",
    summary="Read a study's report",
    response_class=Response,
    responses=SHOWN | documented(404, 406, 409, 422),
)
def report(
    caller: Reader,
    service: CurrentService,
    study_id: StudyId,
    accept: Annotated[
        str, Header(description=f"One of {', '.join(MEDIA_TYPES)}; JSON by default.")
    ] = "*/*",
    format: Annotated[Format | None, Query(description="Overrides Accept.")] = None,
) -> Response:
    """Return the comparison of the arms; of a study that has not ended, what can be said so far,
    marked interim.
    """
    wanted = format or preferred(accept)
    return render(_reported(caller, service, study_id, with_trials=wanted == "csv"), wanted)


DRAWN: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The figure.",
        "content": {
            "image/svg+xml": {"schema": {"type": "string"}},
            "image/png": {"schema": {"type": "string", "contentMediaType": "image/png"}},
        },
    }
}


@router.get(
    "/studies/{study_id}/report/figures/{name}",
    summary="Draw a figure of a study's report",
    response_class=Response,
    responses=DRAWN | documented(404, 409, 422),
)
def figure(
    caller: Reader,
    service: CurrentService,
    study_id: StudyId,
    name: Annotated[FigureName, Path(description="The figure.")],
    format: Annotated[Image, Query(description="Kind of image.")] = "svg",
) -> Response:
    """Return one figure alone, in light colours; 404 where the study holds nothing that it could
    show.
    """
    comparison = _reported(caller, service, study_id).comparison()
    # matplotlib and scipy are loaded with the first picture, not at the start
    from gradnoise_service.report import figures

    draw = figures.svg if format == "svg" else figures.png
    try:
        image = draw(name, comparison)
    except ValueError as error:
        raise NotFoundError(str(error)) from error
    return Response(
        image, media_type=IMAGES[format], headers={"Content-Security-Policy": HTML_POLICY}
    )


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A study with what its report needs beside it: trials where no comparison is stored, epochs
    where none with diagnostics is.
    """

    study: Study
    trials: Sequence[Trial]
    epochs: Sequence[EpochMean]

    def comparison(self) -> Any:
        """Return the study's Comparison, whose module loads numpy: hence the type is not named
        here.

        Diagnostics that a stored one lacks, as it is older than they are, are computed anew; its
        verdict stays as it was given.

        Raises:
            ReportNotReadyError: If no trial has ended.
        """
        from gradnoise_service.compare import Comparison, compare
        from gradnoise_service.compare.diagnostics import diagnosed

        study = self.study
        if study.comparison is not None:
            stored = Comparison.model_validate(study.comparison)
            return (
                stored
                if "diagnostics" in study.comparison
                else diagnosed(stored, study.spec, study.metric, self.epochs)
            )
        if any(trial.state != "cancelled" and trial.has_ended for trial in self.trials):
            return compare(
                study.spec,
                study.metric,
                self.trials,
                protocol=study.protocol,
                epochs=self.epochs,
                looks=study.looks,
            )
        raise ReportNotReadyError()


def _reported(
    caller: Reader, service: CurrentService, study_id: StudyId, *, with_trials: bool = False
) -> Reported:
    with service.database.session() as session:
        study = studies.get(session, study_id, caller.sees)
        stored = study.comparison
        known = trials.of_study(session, study_id) if stored is None or with_trials else []
        epochs = (
            []
            if stored and "diagnostics" in stored
            else measurements.mean_curves(session, study_id, study.metric.name)
        )
    return Reported(study=study, trials=known, epochs=epochs)


def render(reported: Reported, wanted: Format) -> Response:
    """Return a study's report in a format; CSV needs the trials whatever is stored.

    Raises:
        ReportNotReadyError: If no trial has ended.
    """
    # scipy and its like are loaded with the first report, not at the start
    from gradnoise_service import report

    study, comparison = reported.study, reported.comparison()
    match wanted:
        case "json":
            text = comparison.model_dump_json()
        case "html":
            text = report.html(study, comparison)
        case "md":
            text = report.markdown(study, comparison)
        case "csv":
            text = report.csv_text(study, reported.trials)
        case "tex":
            text = report.latex(study, comparison)
    media_type = next(name for name, kind in MEDIA_TYPES.items() if kind == wanted)
    policy = {"Content-Security-Policy": HTML_POLICY} if wanted == "html" else {}
    return Response(text, media_type=media_type, headers=VARY | policy)


def preferred(accept: str) -> Format:
    """Return the format that an Accept header likes best, JSON where it does not care.

    Raises:
        HTTPException: 406 if it likes none.

    >>> preferred("text/html,application/xhtml+xml,*/*;q=0.8")
    'html'
    """
    likes = {name: _quality(accept or "*/*", name) for name in MEDIA_TYPES}
    best = max(likes, key=lambda name: likes[name])
    if likes[best] <= 0:
        raise HTTPException(406, f"A report cannot be had as {accept!r}.")
    return MEDIA_TYPES[best]


def _quality(accept: str, media_type: str) -> float:
    """Return how much a header likes a type, from 0 to 1: the most specific of its ranges counts."""
    ranges = {media_type: 3, media_type.split("/")[0] + "/*": 2, "*/*": 1}
    found = (0, 0.0)
    for part in accept.split(","):
        name, *parameters = (piece.strip() for piece in part.lower().split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        found = max(
            found,
            (
                ranges.get(name, -1),
                float(quality) if quality.replace(".", "", 1).isdecimal() else 0.0,
            ),
        )
    return found[1]
