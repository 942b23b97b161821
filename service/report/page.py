"""The report as one HTML file: nothing is loaded from elsewhere, nothing runs; light, dark, phone and paper."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import jinja2
import yaml
from markupsafe import Markup

from service.compare.comparison import Comparison, Verdict
from service.compare.wording import signed
from service.domain.study import Study
from service.report.numbers import duration, number, percent, span, words
from service.report.palette import DARK, LIGHT

SIGNS: Mapping[Verdict, str] = {"helps": "▲", "hurts": "▼", "no_difference": "=", "undecided": "?"}


def html(study: Study, comparison: Comparison) -> str:
    """Return a study's report as a self-contained page."""
    # matplotlib is loaded with the first report, so that a process that shows none stays small
    from service.report import figures

    pictures = {name: Markup(element) for name, element in figures.pictures(comparison).items()}
    return ENVIRONMENT.get_template("report.html").render(
        study=study,
        c=comparison,
        pictures={name: pictures.get(name, "") for name in figures.FIGURES},
        parameters=parameters(comparison),
        protocol=list(protocol(comparison)),
        spec=spec_text(study),
        signs=SIGNS,
        light=Markup(_variables(LIGHT)),
        dark=Markup(_variables(DARK)),
    )


def parameters(comparison: Comparison) -> list[str]:
    """Return the names of all hyperparameters that any trial had, in order of appearance."""
    return list(dict.fromkeys(name for point in comparison.search for name in point.params))


def protocol(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """Yield what ran, as names and texts: each arm's formula in place of all of them; `versions` and other tables are listed on a line."""
    for name, value in comparison.protocol.items():
        if name == "formulas":
            yield from ((f"formula of {arm.name}", value.get(arm.technique, "–")) for arm in comparison.arms)
            continue
        yield words(name), ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, Mapping) else str(value)


def spec_text(study: Study) -> str:
    """Return the whole spec as YAML that can be submitted again."""
    return yaml.safe_dump(study.spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)


def _variables(colours: Mapping[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())


ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=jinja2.StrictUndefined
)
ENVIRONMENT.trim_blocks = ENVIRONMENT.lstrip_blocks = True
ENVIRONMENT.filters |= {"number": number, "signed": signed, "span": span, "percent": percent, "duration": duration, "words": words}
