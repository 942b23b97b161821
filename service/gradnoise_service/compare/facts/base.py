"""The base model of all facts, intervals, and the outcomes of trials."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Outcome = Literal["complete", "diverged", "pruned", "failed", "cancelled", "open", "dropped"]
"""How a trial counts: `diverged` ended with a non-finite loss or value; `open` has not ended.

`dropped` is a confirm run that is never made, because its arm stopped at an earlier look.
"""

LOST: tuple[Outcome, ...] = ("diverged", "failed")
"""Outcomes that count as the worst value of the comparison."""

IntervalMethod = Literal[
    "bca",
    "bca_student",
    "welch",
    "wilson",
    "anytime",
    "no_width_equal",
    "no_width_tied",
    "search_luck",
    "hartung_knapp",
]
"""How an interval was computed, or why it has no width.

`bca` is the BCa bootstrap, `bca_student` the same with an end that Student's interval widened,
`welch` Welch's interval of the means of searches, `wilson` the score interval of a share,
`anytime` the confidence sequence that is valid at every number of pairs. With `no_width_equal` all
values are equal, with `no_width_tied` so many that the resamples do not differ. `search_luck` is
one of these, widened by the luck of the searches; `hartung_knapp` is Student's interval of a
random-effects mean over studies, or of a further study's effect.
"""


class Frozen(BaseModel):
    """A frozen model that rejects non-finite numbers."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Interval(Frozen):
    """A confidence interval from low to high at a level below 1."""

    low: float
    high: float
    level: float
    method: IntervalMethod
