"""The report as one HTML file: nothing is loaded from elsewhere, nothing runs; light, dark, phone
and paper.
"""

import csv
import io
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path

import jinja2
import yaml
from markupsafe import Markup

from gradnoise_service.compare.comparison import Comparison, Verdict
from gradnoise_service.compare.wording import signed
from gradnoise_service.domain.spec import Value
from gradnoise_service.domain.study import Study
from gradnoise_service.report.numbers import duration, ends, number, percent, span, words
from gradnoise_service.report.palette import DARK, LIGHT

MOST_ROWS = 1_000
"""Search trials beyond this many stand in the page as lines of CSV, not as a table: it stays small
enough to open.
"""

SIGNS: Mapping[Verdict, str] = {"helps": "▲", "hurts": "▼", "no_difference": "=", "undecided": "?"}


def html(study: Study, comparison: Comparison) -> str:
    """Return a study's report as a self-contained page."""
    # matplotlib is loaded with the first report, so that a process that shows none stays small
    from gradnoise_service.report import figures

    pictures = {name: Markup(element) for name, element in figures.pictures(comparison).items()}
    return ENVIRONMENT.get_template("report.html").render(
        study=study,
        c=comparison,
        pictures={name: pictures.get(name, "") for name in figures.FIGURES},
        parameters=parameters(comparison),
        protocol=list(protocol(comparison)),
        spec=spec_text(study),
        progress=progress(comparison),
        lead=lead(comparison),
        search_csv=search_csv(comparison) if len(comparison.search) > MOST_ROWS else None,
        cell_note=noise_map_note(comparison),
        points=point_table(comparison),
        signs=SIGNS,
        light=Markup(_variables(LIGHT)),
        dark=Markup(_variables(DARK)),
    )


def parameters(comparison: Comparison) -> list[str]:
    """Return the names of all hyperparameters that any trial had, in order of appearance."""
    return list(dict.fromkeys(name for point in comparison.search for name in point.params))


def search_csv(comparison: Comparison) -> str:
    """Return the search trials as lines of CSV."""
    file = io.StringIO()
    names = parameters(comparison)
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("arm", "trial", "outcome", "value", "best", *names, "seed"))
    for p in comparison.search:
        cells = (
            p.arm,
            p.number + 1,
            p.outcome,
            number(p.value),
            number(p.best),
            *(number(p.params.get(name)) for name in names),
            p.seed,
        )
        writer.writerow(cells)
    return file.getvalue()


def lead(comparison: Comparison) -> str | None:
    """Return what a report must begin with, None if nothing: that the arms were not tuned alike,
    the gravest warning there is.
    """
    was_unequal = len({arm.search.n_declared for arm in comparison.arms}) > 1
    return comparison.warnings[0] if was_unequal and comparison.warnings else None


def progress(comparison: Comparison) -> str:
    """Return how many of the declared trials have ended, in words."""
    phases = {
        "search trials": [arm.search for arm in comparison.arms],
        "reruns": [arm.rerun for arm in comparison.arms],
        "confirm runs": [arm.confirm for arm in comparison.arms],
    }
    counts = [
        (name, sum(t.n_ended for t in tallies), sum(t.n_declared for t in tallies))
        for name, tallies in phases.items()
    ]
    *first, last = (f"{n} of {declared} {name}" for name, n, declared in counts if declared)
    return f"{', '.join(first)} and {last} have ended." if first else f"{last} have ended."


def point_table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the table of a study without a search: a row for each setting, with
    what each arm came to.
    """
    c = comparison
    thresholds = [one.threshold for one in next((arm.reached for arm in c.arms if arm.reached), ())]
    side = "at least" if c.direction == "maximize" else "at most"
    columns = (
        "runs",
        "mean ± sd",
        "best",
        *(f"{side} {number(threshold)}" for threshold in thresholds),
    )
    names = list(c.points[0].params) if c.points else []
    rows = []
    for point in c.points:
        row = [number(point.params[name]) for name in names]
        for arm in c.arms:
            own = point.runs[arm.name]
            spread = "" if own.spread is None else f" ± {number(own.spread)}"
            row += [
                f"{own.n}, {own.n_lost} lost" if own.n_lost else str(own.n),
                f"{number(own.mean)}{spread}",
                number(own.best),
            ]
            row += [str(one.n_reached) for one in own.reached] or ["–"] * len(thresholds)
        rows.append(row)
    return [*names, *(f"{arm.name}: {column}" for arm in c.arms for column in columns)], rows


def setting_text(params: Mapping[str, Value]) -> str:
    """Return a setting as words: `lr 0.1, clip_norm 10`.

    >>> setting_text({"lr": 0.1, "clip_norm": 10})
    'lr 0.1, clip_norm 10'
    """
    return ", ".join(f"{name} {number(value)}" for name, value in params.items()) or "–"


def noise_map_note(comparison: Comparison) -> str:
    """Return how sure the map of eta and gamma is: how many trials a cell rests on, and how far
    equal settings differ from seed to seed.
    """
    cells = comparison.diagnostics.cells
    if not cells:
        return ""
    least, most = min(cell.n for cell in cells), max(cell.n for cell in cells)
    values = [
        run.value
        for row in comparison.seeds
        if (run := row.runs[cells[0].arm]).outcome == "complete" and run.value is not None
    ]
    trials = (
        f"{least} to {most} trials"
        if least < most
        else "1 trial"
        if most == 1
        else f"{most} trials"
    )
    count = "cell rests" if len(cells) == 1 else "cells rest"
    note = (
        f"Each mark of the map is one training with one seed; its {len(cells)} {count} on "
        f"{trials}{'' if len(cells) == 1 else ' each'}."
    )
    if len(values) > 1:
        spread = number(statistics.stdev(values))
        note += (
            " The chosen setting alone differs from seed to seed by a standard deviation of "
            f"{spread}: smaller differences mean nothing."
        )
    return note


def protocol(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """Yield what ran, as names and texts: each arm's formula in place of all of them; `versions`
    and other tables are listed on a line.
    """
    for name, value in comparison.protocol.items():
        if name == "formulas":
            yield from (
                (f"formula of {arm.name}", value.get(arm.technique, "–")) for arm in comparison.arms
            )
            continue
        yield (
            words(name),
            ", ".join(f"{key} {item}" for key, item in value.items())
            if isinstance(value, Mapping)
            else str(value),
        )


def spec_text(study: Study) -> str:
    """Return the whole spec as YAML that can be submitted again."""
    return yaml.safe_dump(
        study.spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100
    )


def _variables(colours: Mapping[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())


ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
)
ENVIRONMENT.trim_blocks = ENVIRONMENT.lstrip_blocks = True
ENVIRONMENT.filters |= {
    "number": number,
    "signed": signed,
    "span": span,
    "percent": percent,
    "duration": duration,
    "words": words,
    "ends": ends,
    "setting": setting_text,
}
