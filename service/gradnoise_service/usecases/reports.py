"""Use cases on reports: the stored comparison of a complete study, else an interim comparison."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gradnoise_service.compare.facts.comparison import Comparison, Difference
from gradnoise_service.domain.access import Caller
from gradnoise_service.domain.errors import NotFoundError, ReportNotReadyError
from gradnoise_service.domain.progress import Progress, TrialCounts
from gradnoise_service.domain.study import STUDY_ENDED, EpochMean, Study, Trial
from gradnoise_service.report.words.verdict import sentence
from gradnoise_service.store import measurements, studies, trials
from gradnoise_service.usecases.service import Service

ReportFormat = Literal["json", "html", "md", "csv", "tex"]
ImageFormat = Literal["svg", "png"]


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """A study and what its report needs.

    `trials` and `epochs` are empty if a comparison is stored, unless the format requires them.
    """

    study: Study
    trials: Sequence[Trial]
    epochs: Sequence[EpochMean]


def report(service: Service, caller: Caller, study_id: int, format: ReportFormat) -> str:
    """Return a study's report as text.

    It is made again when a trial has ended or the study has changed.

    Raises:
        NotFoundError: If there is no visible study with this id.
        ReportNotReadyError: If no trial has ended.
    """
    key = (*_shown(service, caller, study_id), format)
    return service.reports.get(key, lambda: _render(service, caller, study_id, format))


def _render(service: Service, caller: Caller, study_id: int, format: ReportFormat) -> str:
    data = _read(service, caller, study_id, with_trials=format == "csv")
    comparison = _comparison(data)
    # jinja2, yaml and, for HTML, matplotlib are imported with the first report
    from gradnoise_service.report import csv, html, json, latex, markdown

    match format:
        case "json":
            return json.render(data.study, comparison)
        case "html":
            return html.render(data.study, comparison)
        case "md":
            return markdown.render(data.study, comparison)
        case "csv":
            return csv.render(data.study, data.trials)
        case "tex":
            return latex.render(data.study, comparison)


def figure(
    service: Service, caller: Caller, study_id: int, name: str, format: ImageFormat
) -> bytes:
    """Return a figure of a study's report as an image.

    Raises:
        NotFoundError: If there is no visible study with this id, or the figure is empty.
        ReportNotReadyError: If no trial has ended.
    """
    key = (*_shown(service, caller, study_id), name, format)
    return service.reports.get(key, lambda: _draw(service, caller, study_id, name, format))


def _draw(service: Service, caller: Caller, study_id: int, name: str, format: ImageFormat) -> bytes:
    comparison = _comparison(_read(service, caller, study_id))
    from gradnoise_service.report import figures

    draw = figures.svg if format == "svg" else figures.png
    try:
        return draw(name, comparison)
    except ValueError as error:
        raise NotFoundError(str(error)) from error


def verdicts(
    service: Service, caller: Caller, study: Study, progress: Progress
) -> list[tuple[Difference, str]]:
    """Return each difference of a study with its sentence.

    They are stored, or those so far where a verdict is valid at every number of seeds and a confirm
    run has ended; else empty.
    """
    has_runs = any(
        arm.phase == "confirm" and (arm.best_value is not None or arm.n_diverged)
        for arm in progress.arms
    )
    if study.verdict is None and not (study.design.is_anytime and has_runs):
        return []
    comparison = _comparison(_read(service, caller, study.id))
    return [(d, sentence(comparison, d)) for d in comparison.differences]


def _shown(service: Service, caller: Caller, study_id: int) -> tuple[Study, frozenset[TrialCounts]]:
    """Return what determines a report: the study, and before its end the trials that have ended."""
    with service.database.session() as session:
        study = studies.describe(session, study_id, caller.visible_owner)
        counts = trials.counts(session, study)
    return study, frozenset(dataclasses.replace(each, epochs_running=0) for each in counts)


def _read(
    service: Service, caller: Caller, study_id: int, *, with_trials: bool = False
) -> ReportData:
    with service.database.session() as session:
        study = studies.get(session, study_id, caller.visible_owner)
        is_stored = study.comparison is not None
        metric = study.metric.name
        return ReportData(
            study=study,
            trials=[] if is_stored and not with_trials else trials.of_study(session, study_id),
            epochs=[] if is_stored else measurements.mean_curves(session, study_id, metric),
        )


def _comparison(data: ReportData) -> Comparison:
    """Return the comparison of a study: the stored one, or an interim one.

    Raises:
        ReportNotReadyError: If no trial has ended.
    """
    study = data.study
    if study.comparison is not None:
        return Comparison.model_validate(study.comparison)
    if not any(trial.state != "cancelled" and trial.has_ended for trial in data.trials):
        if study.state in STUDY_ENDED:
            raise ReportNotReadyError(
                f"The state of study {study.spec.name!r} is {study.state}, and no trial has ended: "
                "there is nothing to report."
            )
        raise ReportNotReadyError()
    # imports scipy, which stored comparisons do not need
    from gradnoise_service.compare.assembly import compare

    return compare(
        study.design,
        study.metric,
        data.trials,
        protocol=study.protocol,
        epochs=data.epochs,
    )
