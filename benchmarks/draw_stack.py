"""`python -m benchmarks.draw_stack [FIGURES.json]`: draw throughput over slots.

The picture of the figures of `bench_stack --gpu` is written to the folder of the JSON file.
"""

import json
import sys
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from benchmarks.bench_stack import GPU_SLOTS, N_SHARING, rate_name, sharing_name
from benchmarks.harness import RESULTS
from gradnoise_service.report.figures.drawing import STYLE
from gradnoise_service.report.palette import LIGHT, arm_colour


def draw(path: Path) -> Figure:
    """Return a plot of member-steps per second over slots, both axes logarithmic.

    A horizontal line shows the rate of each number of eager processes.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    medians = {figure["name"]: figure["median"] for figure in document["figures"]}
    slots = [n for n in GPU_SLOTS if rate_name(n) in medians]
    figure = Figure(figsize=(7.4, 4.1), layout="constrained", facecolor=LIGHT["card"])
    axes = figure.add_subplot()
    rates = [medians[rate_name(n)] for n in slots]
    axes.plot(slots, rates, color=arm_colour(1), linewidth=2, marker="o")
    for n, rate in zip(slots, rates, strict=True):
        axes.annotate(
            f"{rate:,.0f}",
            (n, rate),
            (0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color=LIGHT["ink"],
        )
    for n in (1, *N_SHARING):
        axes.axhline(medians[sharing_name(n)], color=LIGHT["muted"], linewidth=1, linestyle="--")
        name = sharing_name(n).strip()
        axes.annotate(
            name,
            (slots[-1], medians[sharing_name(n)]),
            (0, 3),
            textcoords="offset points",
            ha="right",
            fontsize=9,
        )
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(slots, [f"{n:,}" for n in slots])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(True)
    axes.set_xlabel("Slots of the stack")
    axes.set_ylabel("Member-steps a second")
    axes.set_title(
        f"20x50 network, batch 100, on {document['machine']['gpu']}",
        loc="left",
        fontsize=12,
        color=LIGHT["ink"],
    )
    return figure


if __name__ == "__main__":
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS / "bench_stack_cuda.json"
    with matplotlib.rc_context(STYLE):
        draw(source).savefig(source.with_suffix(".png"), dpi=150)
