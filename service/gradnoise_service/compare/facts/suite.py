"""SuiteComparison: the answer of a suite, several studies of the same comparison, as facts.

Effects are gains divided by the smallest difference of their study, so that studies with different
metrics can be pooled: 1 is a difference that just matters, above 0 is better.
"""

from typing import Literal

from gradnoise_service.compare.facts.base import Frozen, Interval
from gradnoise_service.compare.facts.comparison import Reason
from gradnoise_service.domain.study import StudyState, Verdict

LeftOut = Literal["waiting", "cancelled", "failed", "other_arms", "no_verdict"]
"""Why a study has no effect to pool.

It has not ended, was cancelled, failed, compares other arms, or its runs give no verdict.
"""


VariesOver = Literal["workload", "study"]
"""What the effects vary over: the workloads of a suite, or the studies that a reader has picked."""


class StudyEffect(Frozen):
    """What a study contributes to the answer on an arm.

    Args:
        verdict: The study's verdict on the arm; None before it is complete.
        gain: In units of the metric; None without a pair of runs.
        effect: The gain divided by the smallest difference; None where the study is left out.
        standard_error: That of the effect from the study's runs, or of its searches' means.
        interval: The study's interval of the gain, divided by the smallest difference.
    """

    study_id: int
    study: str
    workload: str
    state: StudyState
    metric: str
    smallest_difference: float
    verdict: Verdict | None = None
    gain: float | None = None
    effect: float | None = None
    standard_error: float | None = None
    interval: Interval | None = None
    left_out: LeftOut | None = None


class Pooled(Frozen):
    """A random-effects meta-analysis of `n` effects.

    Args:
        mean: The mean effect over workloads.
        standard_error: That of the mean, adjusted by Hartung and Knapp.
        interval: Confidence interval of the mean.
        p_value: Of the two-sided test that the mean is 0.
        tau: Standard deviation of the true effects between workloads.
        i_squared: Share of the variance of the effects that is between workloads, in [0, 1].
        prediction: Interval of the true effect on a further workload; None with two effects.
    """

    n: int
    mean: float
    standard_error: float
    interval: Interval
    p_value: float
    tau: float
    i_squared: float
    prediction: Interval | None = None


class Answer(Frozen):
    """The answer of a suite on an arm against the baseline.

    Args:
        verdict: On the mean effect, with a smallest difference of 1; `undecided` also where
            `no_verdict` is given.
        no_verdict: `waiting` while a study has not ended, `too_few` with fewer than two effects.
        p_value: Of the mean effect, adjusted for the number of arms; None without one.
        pooled: None with fewer than two effects.
        n_complete: Studies that are complete.
        n_helps, n_hurts, n_no_difference: How many of these have this verdict.
        helped: Wilson's interval of the share that has the verdict `helps`.
        effects: Of every study, in the order of submission.
    """

    arm: str
    baseline: str
    verdict: Verdict
    reason: Reason | None = None
    no_verdict: Literal["waiting", "too_few"] | None = None
    p_value: float | None = None
    pooled: Pooled | None = None
    n_complete: int
    n_helps: int
    n_hurts: int
    n_no_difference: int
    helped: Interval | None = None
    effects: tuple[StudyEffect, ...]


class SuiteComparison(Frozen):
    """The answers of a suite, one for each compared arm; `verdict` is that of the first."""

    name: str
    verdict: Verdict
    varies_over: VariesOver = "workload"
    n_studies: int
    n_ended: int
    answers: tuple[Answer, ...]
