"""Tables that several formats show, as text cells."""

import math
from collections.abc import Iterator

from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.compare.facts.diagnostics import BudgetPoint
from gradnoise_service.compare.facts.tables import GridPoint, PointRuns
from gradnoise_service.compare.spread import variance_within
from gradnoise_service.domain.space import searched
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.report.document import Report
from gradnoise_service.report.words.numbers import MISSING, count, number

TUNING_NOTE = (
    "Median of the best of so many trials, and the ends of its band from worse to better; a dash "
    "is an end without a bound."
)


def parameters(comparison: Comparison) -> list[str]:
    """Return the names of all hyperparameters of the search trials, in order of appearance."""
    return list(dict.fromkeys(name for point in comparison.search for name in point.params))


def tuned(spec: StudySpec) -> set[str]:
    """Return the names of the hyperparameters that the search of some arm varies."""
    return {name for arm in spec.arms for name in searched(spec.recipe(arm).space)}


def recipe_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the table of what differs between the arms and what is equal."""
    rows = [
        [row.name, *row.values.values(), "differs" if row.differs else "equal"]
        for row in report.recipes
    ]
    return ["recipe", *(arm.name for arm in report.arms), "between the arms"], rows


def thresholds(comparison: Comparison) -> list[float]:
    """Return the thresholds for which the runs that reach them are counted."""
    counted = next((arm.reached for arm in comparison.arms if arm.reached), ())
    return [reached.threshold for reached in counted]


def point_table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the table of settings of a study without a search."""
    c = comparison
    side = "at least" if c.direction == "maximize" else "at most"
    reached = [f"{side} {number(threshold)}" for threshold in thresholds(c)]
    columns = ["runs", "mean ± sd", "best", *reached]
    names = list(c.points[0].params) if c.points else []
    header = [*names, *(f"{arm.name}: {column}" for arm in c.arms for column in columns)]
    return header, [list(_point_row(c, point, len(reached))) for point in c.points]


def noise_map_note(comparison: Comparison) -> str:
    """Return the precision of the eta x gamma map: trials a cell, and the spread between seeds."""
    cells = comparison.diagnostics.cells
    if not cells:
        return ""
    fewest, most = min(cell.n for cell in cells), max(cell.n for cell in cells)
    trials = count(most, "trial") if fewest == most else f"{fewest} to {most} trials"
    hold = "cell holds" if len(cells) == 1 else "cells hold"
    each = "" if len(cells) == 1 else " each"
    note = (
        f"Each mark of the map is one training with one seed; {len(cells)} {hold} {trials}{each}."
    )
    runs = _complete_values(comparison, cells[0].arm)
    variance = variance_within(runs)
    if variance is None:
        return note
    chosen = (
        "The chosen setting alone varies" if len(runs) == 1 else "A chosen setting alone varies"
    )
    return (
        f"{note} {chosen} from seed to seed with a standard deviation of "
        f"{number(math.sqrt(variance))} ({count(sum(map(len, runs)), 'run')}): smaller differences "
        "in the map are noise."
    )


def tuning_table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the table of tuning curves; no rows without curves."""
    found = comparison.diagnostics.tuning
    curves = found.curves if found else ()
    by_size = [{point.n_trials: point for point in curve.points} for curve in curves]
    sizes = sorted(set().union(*by_size))
    header = ["trials", *(f"{c.arm}: {column}" for c in curves for column in ("median", "band"))]
    rows = [
        [str(k), *(cell for points in by_size for cell in _tuning_cells(points.get(k)))]
        for k in sizes
    ]
    return header, rows


def _tuning_cells(point: BudgetPoint | None) -> tuple[str, str]:
    if point is None:
        return MISSING, MISSING
    return number(point.median), f"{number(point.worse)} to {number(point.better)}"


def _point_row(c: Comparison, point: GridPoint, n_thresholds: int) -> Iterator[str]:
    yield from map(number, point.params.values())
    for arm in c.arms:
        runs = point.runs[arm.name]
        yield f"{runs.n}, {runs.n_lost} lost" if runs.n_lost else str(runs.n)
        yield _mean(runs)
        yield number(runs.best)
        counts = [str(reached.n_reached) for reached in runs.reached]
        yield from counts or [MISSING] * n_thresholds


def _mean(runs: PointRuns) -> str:
    return number(runs.mean) + ("" if runs.spread is None else f" ± {number(runs.spread)}")


def _complete_values(comparison: Comparison, arm: str) -> list[list[float]]:
    """Return the complete confirm runs of an arm, by search; searches without one are left out."""
    n_searches = len(comparison.arm(arm).chosen)
    by_search = (
        [
            run.value
            for row in comparison.seeds[repeat::n_searches]
            if (run := row.runs[arm]).outcome == "complete" and run.value is not None
        ]
        for repeat in range(n_searches)
    )
    return [values for values in by_search if values]
