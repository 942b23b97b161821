"""Suites with chosen gains: complete studies with their comparisons."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import chosen_outcomes
from gradnoise_service.compare.assembly import compare
from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Study

ACCURACY = Metric(name="accuracy", direction="maximize", worst=0.0)
LOSS = Metric(name="loss", direction="minimize", worst=100.0)
Member = tuple[Study, Comparison | None]
SPREAD = (-0.01, 0.0, 0.01, -0.005, 0.005, 0.0, 0.003, -0.003)
"""Differences of the pairs from their mean; they sum to 0."""


def member(
    make_spec: Callable[..., StudySpec],
    number: int,
    gains: Sequence[float],
    *,
    metric: Metric = ACCURACY,
    **changes: object,
) -> Member:
    """Return a complete study of a suite, whose confirm runs have these paired gains."""
    baseline = [0.5 + 0.01 * i for i in range(len(gains))]
    noisy = [b + metric.sign * gain for b, gain in zip(baseline, gains, strict=True)]
    fields = {"name": f"workload {number}", "suite": "several"} | changes
    design, trials = chosen_outcomes.study(
        make_spec, {"baseline": baseline, "noisy": noisy}, **fields
    )
    comparison = compare(design, metric, trials, protocol={})
    return as_study(design.spec, number, metric=metric), comparison


def around(mean: float) -> list[float]:
    """Return 8 gains with this mean and a standard error of 0.0022."""
    return [mean + deviation for deviation in SPREAD]


def as_study(
    spec: StudySpec, number: int, *, metric: Metric = ACCURACY, **changes: object
) -> Study:
    fields: dict[str, object] = {
        "id": number,
        "owner": "ann",
        "state": "complete",
        "created_at": datetime(2026, 1, 2, tzinfo=UTC),
    }
    # fields by name
    return Study(spec=spec, metric=metric, **(fields | changes))  # type: ignore[arg-type]


def suite_of(make_spec: Callable[..., StudySpec], *means: float) -> list[Member]:
    """Return complete studies with these mean gains; each smallest difference is 0.02."""
    return [
        member(make_spec, i, around(mean), smallest_difference=0.02)
        for i, mean in enumerate(means, start=1)
    ]
