"""Trials as CSV: every trial of a study with all digits, and the search trials of a page."""

import csv
import io
import json
from collections.abc import Sequence

from gradnoise_service.compare.choosing import (
    as_counted,
    counted_value,
    measured_value,
    outcome,
)
from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.domain.space import Value
from gradnoise_service.domain.study import Study, Trial
from gradnoise_service.report.words.numbers import MISSING

COLUMNS = (
    "phase",
    "arm",
    "number",
    "seed",
    "outcome",
    "value",
    "counts_as",
    "epochs",
    "device_seconds",
)


def render(study: Study, trials: Sequence[Trial]) -> str:
    """Return every trial as a row of CSV (RFC 4180): values, seed, setting.

    `value` is the objective, on test in the confirm phase and on validation before it, empty if
    there is no finite value. `counts_as` is, for a lost trial, the value that it counts as in
    its phase. Confirm
    trials of equal number are pairs. Without a search `point` numbers the settings that every arm
    ran; with repeated searches `search` numbers the search. Numbers have all their digits.
    """
    design, judge = study.design, study.spec.judge
    counted = {p: as_counted(design, study.metric, trials, p) for p in design.phases}
    n_points = len(design.shared_settings)
    extra = [*(["point"] if n_points else []), *(["search"] if design.n_repeats > 1 else [])]
    names = list(dict.fromkeys(name for trial in trials for name in trial.params or {}))
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow((*COLUMNS, *extra, *names))
    for trial in trials:
        params = trial.params or {}
        repeat, _ = design.place(trial.phase, trial.arm, trial.number)
        cells = (
            trial.phase,
            trial.arm,
            trial.number,
            trial.seed,
            outcome(trial, judge),
            measured_value(trial, judge),
            counted_value(counted[trial.phase], trial, judge),
            trial.epochs,
            trial.device_seconds,
            *([trial.number % n_points + 1] if n_points else []),
            *([repeat + 1] if design.n_repeats > 1 else []),
            *(params.get(name) for name in names),
        )
        writer.writerow(["" if cell is None else _cell(cell) for cell in cells])
    return file.getvalue()


def search_trials(comparison: Comparison, names: Sequence[str]) -> str:
    """Return the search trials as rows of CSV, with a column for each named hyperparameter."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("arm", "search", "trial", "outcome", "value", "best", *names, "seed"))
    for point in comparison.search:
        values = (point.value, point.best, *(point.params.get(name) for name in names))
        cells = map(_short, values)
        place = (point.repeat + 1, point.number + 1)
        writer.writerow((point.arm, *place, point.outcome, *cells, point.seed))
    return file.getvalue()


def _short(value: Value | None) -> str:
    """Return a cell with four significant digits that programs can parse."""
    if value is None:
        return MISSING
    return f"{value:.4g}" if isinstance(value, float) else str(_cell(value))


def _cell(value: Value) -> object:
    """Return a list or object, and true or false, as JSON."""
    return json.dumps(value) if isinstance(value, bool | list | dict) else value
