"""The report's figures as Plotly describes them, for the Optuna Dashboard."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from gradnoise_service.compare.facts.base import LOST
from gradnoise_service.compare.facts.comparison import Comparison

SYMBOLS = ("circle-open", "diamond", "square", "triangle-up", "triangle-down", "star")
MOST_POINTS = 1_000
Plot = Mapping[str, Any]


def render(comparison: Comparison) -> dict[str, str]:
    """Return the figures that have data, by name, as the JSON of a Plotly figure.

    At most 1,000 search trials of an arm are drawn, evenly chosen.
    """
    drawn = {
        "confirm": _plot(
            "Every confirm run, seed by seed",
            f"Test {comparison.metric}",
            "Confirm seed",
            _confirm(comparison),
        ),
        "best_so_far": _plot(
            "Best so far",
            "Trials of the arm",
            f"Best validation {comparison.metric}",
            _best(comparison),
        ),
        "learning_rate": _plot(
            "Learning-rate response",
            "Learning rate",
            f"Validation {comparison.metric}",
            _rates(comparison),
            log="x",
        ),
        "importance": _plot(
            "Importance of the hyperparameters",
            "Share of the variance of ranks",
            "",
            _shares(comparison),
        ),
        "course": _plot(
            "Learning curves of the confirm runs",
            "Epoch",
            f"Mean validation {comparison.metric}",
            _courses(comparison, "values"),
        ),
        "noise_course": _plot(
            "Scale of the noise relative to the gradient",
            "Epoch",
            "Norm of noise / norm of gradient",
            _courses(comparison, "noise_to_gradient"),
            log="y",
        ),
    }
    return {name: json.dumps(plot, allow_nan=False) for name, plot in drawn.items() if plot["data"]}


def _plot(title: str, x: str, y: str, traces: Iterator[Plot], *, log: str = "") -> Plot:
    axes = {
        f"{axis}axis": {"title": {"text": text}, **({"type": "log"} if axis == log else {})}
        for axis, text in (("x", x), ("y", y))
    }
    return {"data": list(traces), "layout": {"title": {"text": title}, **axes}}


def _confirm(comparison: Comparison) -> Iterator[Plot]:
    for i, arm in enumerate(comparison.arms):
        runs = [(row.number + 1, row.runs[arm.name]) for row in comparison.seeds]
        complete = [(run.value, n) for n, run in runs if run.outcome == "complete"]
        lost = [(run.value, n) for n, run in runs if run.outcome in LOST]
        if complete:
            yield _trace(arm.name, complete, "markers", symbol=SYMBOLS[i % len(SYMBOLS)])
        if lost:
            yield _trace(f"{arm.name}, lost", lost, "markers", symbol="x")


def _best(comparison: Comparison) -> Iterator[Plot]:
    for i, arm in enumerate(comparison.arms):
        points = [
            (p.number + 1, p.best)
            for p in comparison.search
            if p.arm == arm.name and p.best is not None
        ]
        if points:
            trace = _trace(arm.name, points, "lines")
            yield {**trace, "line": {"shape": "hv", "dash": "dash" if i == 0 else "solid"}}


def _rates(comparison: Comparison) -> Iterator[Plot]:
    for i, arm in enumerate(comparison.arms):
        complete = [p for p in comparison.search if p.arm == arm.name and p.outcome == "complete"]
        points = [(rate, p.value) for p in complete if (rate := p.numeric("lr")) is not None]
        if points:
            yield _trace(arm.name, points, "markers", symbol=SYMBOLS[i % len(SYMBOLS)])


def _shares(comparison: Comparison) -> Iterator[Plot]:
    singles, pairs = comparison.diagnostics.importances, comparison.diagnostics.interactions
    for i, arm in enumerate(comparison.arms):
        shares = [(f.share, f.chance, f.name) for f in singles if f.arm == arm.name]
        shares += [(f.share, f.chance, " with ".join(f.names)) for f in pairs if f.arm == arm.name]
        if shares:
            yield _trace(
                arm.name,
                [(share, name) for share, _, name in shares],
                "markers",
                symbol=SYMBOLS[i % len(SYMBOLS)],
            )
            reach = [(chance, name) for _, chance, name in shares]
            name = f"{arm.name}: share that noise alone reaches"
            yield _trace(name, reach, "markers", symbol="line-ns-open")


def _courses(
    comparison: Comparison, column: Literal["values", "noise_to_gradient"]
) -> Iterator[Plot]:
    for i, course in enumerate(comparison.diagnostics.courses):
        points = [
            (epoch, value)
            for epoch, value in zip(course.epochs, getattr(course, column), strict=True)
            if value is not None
        ]
        if len(points) > 1:
            yield {
                **_trace(course.arm, points, "lines"),
                "line": {"dash": "dash" if i == 0 else "solid"},
            }


def _trace(
    name: str,
    points: Sequence[tuple[float | None, float | str | None]],
    mode: str,
    *,
    symbol: str = "circle",
) -> Plot:
    shown = points[:: -(-len(points) // MOST_POINTS)]
    return {
        "type": "scatter",
        "mode": mode,
        "name": name,
        "x": [x for x, _ in shown],
        "y": [y for _, y in shown],
        "marker": {"symbol": symbol, "size": 9},
    }
