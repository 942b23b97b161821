"""The report's figures: as SVG elements in the colours of the page, or as SVG or PNG files."""

import html
import io
import re
import threading
from collections.abc import Callable
from typing import Any, Literal

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG

from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.report.figures.confirm import confirm
from gradnoise_service.report.figures.course import course, noise_course
from gradnoise_service.report.figures.difference import difference
from gradnoise_service.report.figures.drawing import STYLE, Draw, Picture
from gradnoise_service.report.figures.importance import importance
from gradnoise_service.report.figures.noise_map import noise_map
from gradnoise_service.report.figures.search import best_so_far, learning_rate
from gradnoise_service.report.figures.tuning_curves import tuning_curves
from gradnoise_service.report.palette import LIGHT, as_variables

FIGURES: dict[str, Draw] = {
    "confirm": confirm,
    "difference": difference,
    "best_so_far": best_so_far,
    "tuning_curves": tuning_curves,
    "learning_rate": learning_rate,
    "noise_map": noise_map,
    "importance": importance,
    "course": course,
    "noise_course": noise_course,
}
"""The figures by name, in the order of the report."""

# matplotlib's settings are global to the process, and the API draws in several threads
_LOCK = threading.Lock()


def pictures(comparison: Comparison) -> dict[str, str]:
    """Return the figures that have data, as `<figure>` elements by name."""
    with _LOCK, matplotlib.rc_context(STYLE):
        drawn = [draw(comparison) for draw in FIGURES.values()]
        return {picture.name: _element(picture) for picture in drawn if picture is not None}


def png(name: str, comparison: Comparison, *, dots_per_inch: int = 160) -> bytes:
    """Return a figure as a PNG image in light colours, about 6 inches wide.

    Raises:
        ValueError: If there is no such figure, or it has no data.
    """
    return _file(name, comparison, "png", dpi=dots_per_inch)


def svg(name: str, comparison: Comparison) -> bytes:
    """Return a figure as an SVG image in light colours, with title and description.

    Raises:
        ValueError: As `png`.
    """
    return _file(name, comparison, "svg")


def as_svg(draw: Callable[[], Picture]) -> bytes:
    """Draw any picture in the style of the figures, as an SVG image."""
    with _LOCK, matplotlib.rc_context(STYLE):
        return _image(draw(), "svg")


def as_element(draw: Callable[[], Picture]) -> str:
    """Draw any picture in the style of the figures, as a `<figure>` element."""
    with _LOCK, matplotlib.rc_context(STYLE):
        return _element(draw())


def _file(
    name: str, comparison: Comparison, format: Literal["png", "svg"], **options: Any
) -> bytes:
    if name not in FIGURES:
        raise ValueError(f"name must be one of {', '.join(FIGURES)}, but got {name=}.")
    with _LOCK, matplotlib.rc_context(STYLE):
        picture = FIGURES[name](comparison)
        if picture is None:
            raise ValueError(f"The figure {name!r} has nothing to show: there are no such runs.")
        return _image(picture, format, **options)


def _image(picture: Picture, format: Literal["png", "svg"], **options: Any) -> bytes:
    file = io.BytesIO()
    (FigureCanvasAgg if format == "png" else FigureCanvasSVG)(picture.figure)
    metadata: dict[str, str | None] = {"Title": picture.title, "Description": picture.alt}
    if format == "svg":
        # without a date equal figures are equal files
        metadata["Date"] = None
    picture.figure.savefig(
        file, format=format, facecolor=LIGHT["card"], metadata=metadata, **options
    )
    return file.getvalue()


def _element(picture: Picture) -> str:
    file = io.StringIO()
    FigureCanvasSVG(picture.figure)
    picture.figure.savefig(file, format="svg", metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(
        r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL
    )
    label = html.escape(picture.alt, quote=True)
    svg = re.sub(
        r"<svg [^>]*(viewBox=\"[^\"]+\")[^>]*>",
        lambda found: f'<svg {found[1]} role="img" aria-label="{label}">',
        svg,
        count=1,
    )
    svg = re.sub(r'(id="|url\(#|xlink:href="#)', rf"\g<1>{picture.name}-", svg).replace(
        "xlink:href", "href"
    )
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--font)", svg)
    caption = f"<figcaption>{html.escape(picture.title)}</figcaption>"
    return f'<figure class="{picture.name}">{caption}{as_variables(svg)}</figure>'
