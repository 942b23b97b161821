"""Pages of trials: all trials of a study, and one of them; and the charts of a study."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Response
from starlette.requests import Request

from gradnoise_service.api.auth import Reader
from gradnoise_service.api.parameters import MAX_ID, StudyId, TrialId
from gradnoise_service.api.state import CurrentService
from gradnoise_service.domain.access import Caller
from gradnoise_service.domain.study import Measurement, Study, Trial, TrialState
from gradnoise_service.report.words.numbers import as_words
from gradnoise_service.usecases import curves, files, studies, trials
from gradnoise_service.usecases.service import Service
from gradnoise_service.web.charts import Chart, Series, chart, sparks
from gradnoise_service.web.templating import render_page

router = APIRouter(include_in_schema=False)

N_TRIALS = 50
N_COLOURS = 6
MOST_POINTS = 300


@dataclass(frozen=True, kw_only=True)
class TrialTable:
    """Rows of a table of trials.

    Args:
        trials: In the order of the rows.
        sparks: The points of the picture of each trial's course, by trial.
        n_files: The number of files of each trial that has some.
        spaces: The space of each arm.
    """

    trials: Sequence[Trial]
    sparks: Mapping[int, str]
    n_files: Mapping[int, int]
    spaces: Mapping[str, object]


@router.get("/studies/{study_id}/trials")
def list_trials(
    caller: Reader,
    service: CurrentService,
    request: Request,
    study_id: StudyId,
    after: Annotated[int, Query(ge=0, le=MAX_ID)] = 0,
    arm: str = "",
    phase: str = "",
    state: str = "",
) -> Response:
    """Show the trials of a study, with their courses; an unknown choice admits none."""
    study = studies.show(service, caller, study_id)
    found = trials.page(
        service,
        caller,
        study_id,
        after=after,
        limit=N_TRIALS,
        arm=arm or None,
        phase=phase or None,  # type: ignore[arg-type]  # an unknown phase admits no trial
        state=state or None,  # type: ignore[arg-type]
    )
    chosen = {"phase": phase, "arm": arm, "state": state}
    following = urlencode({**chosen, "after": found.last_id}) if found.last_id else ""
    return render_page(
        request,
        service,
        caller,
        "trials.html",
        study=study,
        table=table_of(service, caller, study, found.items),
        chosen=chosen,
        choices={
            "phase": study.design.phases,
            "arm": [each.name for each in study.spec.arms],
            "state": get_args(TrialState),
        },
        next=following,
    )


@router.get("/studies/{study_id}/trials/{trial_id}")
def show_trial(
    caller: Reader, service: CurrentService, request: Request, study_id: StudyId, trial_id: TrialId
) -> Response:
    """Show a trial: setting, state, course, files, attempts with their errors and logs."""
    study = studies.show(service, caller, study_id)
    found = trials.show(service, caller, study_id, trial_id)
    arm = next(arm for arm in study.spec.arms if arm.name == found.arm)
    measured = trials.measurements_of(service, caller, study_id, trial_id)
    return render_page(
        request,
        service,
        caller,
        "trial.html",
        study=study,
        trial=found,
        space=study.spec.recipe(arm).space,
        charts=list(courses_of(measured, study.metric.name)),
        logs=trials.logs_of(service, caller, study_id, trial_id),
        files=files.listed(service, caller, study_id, trial_id),
    )


def table_of(service: Service, caller: Caller, study: Study, shown: Sequence[Trial]) -> TrialTable:
    """Return the table of some trials of a study."""
    courses = curves.of_many(service, study, shown)
    n_files: dict[int, int] = {}
    for file in files.listed(service, caller, study.id):
        n_files[file.trial_id] = n_files.get(file.trial_id, 0) + 1
    return TrialTable(
        trials=shown,
        sparks=dict(zip(courses, sparks(list(courses.values())), strict=True)),
        n_files=n_files,
        spaces={arm.name: study.spec.recipe(arm).space for arm in study.spec.arms},
    )


def live_charts(service: Service, study: Study) -> list[Chart]:
    """Return the charts of a study by arm: its best values so far, and validation courses."""
    found = curves.live(service, study)
    marks = {
        arm.name: f"arm{0 if i == 0 else (i - 1) % (N_COLOURS - 1) + 1}"
        for i, arm in enumerate(study.spec.arms)
    }
    metric = study.metric.name
    best = [
        Series(name=arm, mark=marks[arm], points=points, is_step=True)
        for arm, points in found.best.items()
    ]
    running = [
        Series(name="", mark=f"{marks[trial.arm]} faint", points=points)
        for trial, points in found.courses
        if not trial.has_ended
    ]
    ended = [
        Series(name=f"{trial.arm}, search {trial.number}", mark=marks[trial.arm], points=points)
        for trial, points in found.courses
        if trial.has_ended
    ]
    title = "of the best search trials" + (", and of running trials (thin)" if running else "")
    drawn = (
        chart(f"Best {metric} on validation so far", "complete search trials", best),
        chart(f"Validation {metric} {title}", "epochs", [*running, *ended]),
    )
    return [each for each in drawn if each is not None]


def courses_of(measured: Sequence[Measurement], metric: str) -> Iterator[Chart]:
    """Yield the charts of a trial: its objective, then each other value that it measured."""
    names = list(dict.fromkeys(name for row in measured for name in row.values))
    objective = [f"{split}_{metric}" for split in ("validation", "test")]
    others = [name for name in names if name not in objective]
    groups = [(metric.capitalize(), objective), *((as_words(name), [name]) for name in others)]
    for title, of_group in groups:
        series = [
            Series(
                name=name.removesuffix(f"_{metric}") if name in objective else "",
                mark=name.removesuffix(f"_{metric}") if name in objective else "validation",
                points=_thinned(measured, name),
            )
            for name in of_group
        ]
        drawn = chart(f"{title[0].upper()}{title[1:]} over the epochs", "epochs", series)
        if drawn is not None:
            yield drawn


def _thinned(measured: Sequence[Measurement], name: str) -> list[tuple[int, float]]:
    """Return at most about MOST_POINTS values, evenly spaced, with the last."""
    points = [(row.epoch, value) for row in measured if (value := row.values.get(name)) is not None]
    step = -(-len(points) // MOST_POINTS)
    return [*points[:-1:step], points[-1]] if points else []
