"""The report as a single HTML file without scripts and external resources.

It suits light and dark screens, phones and paper.
"""

from collections.abc import Mapping
from pathlib import Path

import jinja2
from markupsafe import Markup

from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.domain.study import Study, Verdict
from gradnoise_service.report import csv
from gradnoise_service.report.document import document
from gradnoise_service.report.palette import DARK, LIGHT
from gradnoise_service.report.protocol import protocol, spec_text
from gradnoise_service.report.tables import (
    TUNING_NOTE,
    noise_map_note,
    parameters,
    point_table,
    recipe_table,
    tuned,
    tuning_table,
)
from gradnoise_service.report.words import numbers
from gradnoise_service.report.words.anytime import VALID_AT_ANY_TIME
from gradnoise_service.report.words.looks import longer_runs
from gradnoise_service.report.words.progress import ended_trials
from gradnoise_service.report.words.settings import chosen, chosen_values, setting, techniques

MOST_ROWS = 1_000
"""More search trials than these are shown as CSV, which is smaller than a table."""

SIGNS: Mapping[Verdict, str] = {"helps": "▲", "hurts": "▼", "no_difference": "=", "undecided": "?"}


def render(study: Study, comparison: Comparison) -> str:
    """Return a study's report as a self-contained page."""
    # matplotlib is imported with the first report: other processes do without it
    from gradnoise_service.report import figures

    report = document(study, comparison)
    pictures = {name: Markup(element) for name, element in figures.pictures(comparison).items()}
    names = parameters(comparison)
    has_csv = len(comparison.search) > MOST_ROWS
    return render_template(
        "report.html",
        study=study,
        c=report,
        recipes=recipe_table(report),
        pictures={name: pictures.get(name, "") for name in figures.FIGURES},
        parameters=names,
        tuned=tuned(study.spec),
        protocol=list(protocol(comparison)),
        spec=spec_text(study),
        ended=ended_trials(comparison),
        search_csv=csv.search_trials(comparison, names) if has_csv else None,
        cell_note=noise_map_note(comparison),
        points=point_table(comparison),
        tuning=tuning_table(comparison),
        tuning_note=TUNING_NOTE,
        valid_at_any_time=VALID_AT_ANY_TIME,
    )


def render_template(name: str, **values: object) -> str:
    """Return a template with its values, the signs of the verdicts and the colours."""
    return ENVIRONMENT.get_template(name).render(
        **values,
        signs=SIGNS,
        light=Markup(_variables(LIGHT)),
        dark=Markup(_variables(DARK)),
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
    "number": numbers.number,
    "signed": numbers.signed,
    "span": numbers.span,
    "percent": numbers.percent,
    "percent_span": numbers.percent_span,
    "confidence": numbers.confidence,
    "p_value": numbers.p_value,
    "duration": numbers.duration,
    "moment": numbers.moment,
    "words": numbers.as_words,
    "ends": numbers.ends,
    "listed": numbers.listed,
    "longer_runs": longer_runs,
    "count": numbers.count,
    "setting": setting,
    "chosen": chosen,
    "chosen_values": chosen_values,
    "techniques": techniques,
}
