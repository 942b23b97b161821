"""Use cases on reports: the stored comparison of a complete study, else an interim comparison."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gradnoise_service.domain.access import Caller
from gradnoise_service.domain.errors import NotFoundError, ReportNotReadyError
from gradnoise_service.domain.study import EpochMean, Study, Trial
from gradnoise_service.store import measurements, studies, trials
from gradnoise_service.usecases.service import Service

ReportFormat = Literal["json", "html", "md", "csv", "tex"]
ImageFormat = Literal["svg", "png"]


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """A study and what its report needs.

    `trials` is empty if a comparison is stored, `epochs` if it has diagnostics, unless the format
    requires them.
    """

    study: Study
    trials: Sequence[Trial]
    epochs: Sequence[EpochMean]


def report(service: Service, caller: Caller, study_id: int, format: ReportFormat) -> str:
    """Return a study's report as text.

    Raises:
        NotFoundError: If there is no visible study with this id.
        ReportNotReadyError: If no trial has ended.
    """
    data = _read(service, caller, study_id, with_trials=format == "csv")
    comparison = _comparison(data)
    # loads scipy and matplotlib, which other requests do not need
    from gradnoise_service import report as rendering

    match format:
        case "json":
            text: str = comparison.model_dump_json()
        case "html":
            text = rendering.html(data.study, comparison)
        case "md":
            text = rendering.markdown(data.study, comparison)
        case "csv":
            text = rendering.csv_text(data.study, data.trials)
        case "tex":
            text = rendering.latex(data.study, comparison)
    return text


def figure(
    service: Service, caller: Caller, study_id: int, name: str, format: ImageFormat
) -> bytes:
    """Return a figure of a study's report as an image.

    Raises:
        NotFoundError: If there is no visible study with this id, or the figure is empty.
        ReportNotReadyError: If no trial has ended.
    """
    comparison = _comparison(_read(service, caller, study_id))
    from gradnoise_service.report import figures

    draw = figures.svg if format == "svg" else figures.png
    try:
        return draw(name, comparison)
    except ValueError as error:
        raise NotFoundError(str(error)) from error


def _read(
    service: Service, caller: Caller, study_id: int, *, with_trials: bool = False
) -> ReportData:
    with service.database.session() as session:
        study = studies.get(session, study_id, caller.visible_owner)
        stored = study.comparison
        needs_trials, needs_epochs = (
            stored is None or with_trials,
            "diagnostics" not in (stored or {}),
        )
        metric = study.metric.name
        return ReportData(
            study=study,
            trials=trials.table(session, study_id) if needs_trials else [],
            epochs=measurements.confirm_courses(session, study_id, metric) if needs_epochs else [],
        )


def _comparison(data: ReportData) -> Any:
    """Return the Comparison of a study; its type is not named because its module loads numpy.

    Diagnostics that an old stored comparison lacks are computed; its verdict is not changed.

    Raises:
        ReportNotReadyError: If no trial has ended.
    """
    from gradnoise_service.compare import Comparison, compare
    from gradnoise_service.compare.diagnostics import diagnosed

    study = data.study
    if study.comparison is not None:
        stored = Comparison.model_validate(study.comparison)
        if "diagnostics" in study.comparison:
            return stored
        return diagnosed(stored, study.spec, study.metric, data.epochs)
    if not any(trial.state != "cancelled" and trial.has_ended for trial in data.trials):
        raise ReportNotReadyError()
    return compare(
        study.spec,
        study.metric,
        data.trials,
        protocol=study.protocol,
        epochs=data.epochs,
        looks=study.looks,
    )
