"""The paper's claims about arms, compared with what our studies found.

| in the paper the arm is | reproduced if our verdict is | not reproduced if | otherwise |
|---|---|---|---|
| ahead of the baseline | helps | hurts, or no difference | undecided |
| level with the baseline | no difference | helps or hurts | undecided |
| behind the baseline | hurts | helps, or no difference | undecided |

Level means within the smallest difference that matters, which the study declares.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gradnoise_service.compare.facts.base import Interval
from gradnoise_service.compare.facts.comparison import Comparison, Difference
from gradnoise_service.compare.intervals import mean_interval
from gradnoise_service.compare.ranks import holm
from gradnoise_service.compare.sign_flips import sign_flip_p
from gradnoise_service.domain.sequential import ALPHA
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Verdict
from gradnoise_service.presets import PaperFigures

Standing = Literal["reproduced", "not reproduced", "undecided", "not in the paper"]
Rank = Literal["ahead of", "level with", "behind"]
"""How an arm compares with the baseline in the paper."""

AGREEING_VERDICTS: Mapping[Rank, Verdict] = {
    "ahead of": "helps",
    "level with": "no_difference",
    "behind": "hurts",
}
STATISTICS_BY_PRIORITY = ("mean", "reached", "best")
"""The statistics that a claim can use, the preferred statistic first."""


@dataclass(frozen=True, kw_only=True)
class CompleteStudy:
    """A complete study of a row of a paper table, and the scale at which it ran."""

    scale: str
    spec: StudySpec
    comparison: Comparison


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """What a study found for an arm over `n` pairs of runs.

    `difference` has the metric's sign; `gain` is positive where the arm is better.
    """

    n: int
    difference: float | None
    interval: Interval | None
    gain: float | None
    gain_interval: Interval | None
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Claim:
    """An arm in the paper and in our study.

    `figures` are the paper's figures that the claim uses; None, as `rank` and `paper_gain`, if the
    paper has none for this arm.
    """

    arm: str
    baseline: str
    figures: PaperFigures | None
    rank: Rank | None
    paper_gain: float | None
    result: ArmResult
    standing: Standing

    @property
    def is_size_consistent(self) -> bool | None:
        """Whether the paper's gain lies in our interval; None without one of the two.

        None for best runs too: our interval is about the mean.
        """
        interval = self.result.gain_interval
        is_best = self.figures is not None and self.figures.statistic == "best"
        if self.paper_gain is None or interval is None or is_best:
            return None
        return interval.low <= self.paper_gain <= interval.high


def claims(figures: Sequence[PaperFigures], study: CompleteStudy) -> list[Claim]:
    """Return the paper's claim about each arm, compared with a study.

    A claim uses the mean if the paper prints it, else the share of runs that reached its first
    threshold, else the best run. A mean or best run is compared with the study's verdict, which is
    about the mean. A share is compared with the paired difference of the shares: the arm helps or
    hurts if the Bonferroni interval excludes 0 and the sign-flip test (exact, Holm) is
    significant.
    """
    merged = _merged(figures)
    comparison = study.comparison
    return [_claim(merged, comparison, difference) for difference in comparison.differences]


def _merged(figures: Sequence[PaperFigures]) -> list[PaperFigures]:
    """Merge figures of the same kind, because versions of the paper print different arms."""
    by_kind: dict[tuple[object, ...], PaperFigures] = {}
    for entry in figures:
        kind = (entry.statistic, entry.threshold, entry.split)
        earlier = by_kind[kind].values if kind in by_kind else {}
        by_kind[kind] = entry.model_copy(update={"values": {**entry.values, **earlier}})
    return list(by_kind.values())


def _claim(figures: Sequence[PaperFigures], c: Comparison, d: Difference) -> Claim:
    of_both_arms = [entry for entry in figures if {d.arm, d.baseline} <= set(entry.values)]
    if not of_both_arms:
        return Claim(
            arm=d.arm,
            baseline=d.baseline,
            figures=None,
            rank=None,
            paper_gain=None,
            result=_mean_result(d),
            standing="not in the paper",
        )
    used = min(of_both_arms, key=lambda entry: STATISTICS_BY_PRIORITY.index(entry.statistic))
    is_share = used.threshold is not None
    sign, smallest_difference = (1, 0.0) if is_share else (c.sign, c.smallest_difference)
    paper_gain = sign * (used.values[d.arm] - used.values[d.baseline])
    rank = _rank(paper_gain, smallest_difference)
    result = _mean_result(d) if used.threshold is None else _share_result(c, d, used.threshold)
    return Claim(
        arm=d.arm,
        baseline=d.baseline,
        figures=used,
        rank=rank,
        paper_gain=paper_gain,
        result=result,
        standing=_standing(rank, result.verdict),
    )


def _rank(gain: float, smallest_difference: float) -> Rank:
    if gain > smallest_difference:
        return "ahead of"
    return "behind" if gain < -smallest_difference else "level with"


def _standing(rank: Rank, verdict: Verdict) -> Standing:
    if verdict == "undecided":
        return "undecided"
    return "reproduced" if verdict == AGREEING_VERDICTS[rank] else "not reproduced"


def _mean_result(d: Difference) -> ArmResult:
    return ArmResult(
        n=d.n,
        difference=d.difference,
        interval=d.difference_interval,
        gain=d.gain,
        gain_interval=d.gain_interval,
        verdict=d.verdict,
    )


def _share_result(c: Comparison, d: Difference, threshold: float) -> ArmResult:
    """Return the paired difference in the share of runs that reached a threshold."""
    gains_by_arm = [_share_gains(c, difference, threshold) for difference in c.differences]
    i = c.differences.index(d)
    gains = gains_by_arm[i]
    if min(map(len, gains_by_arm)) < 2:
        return ArmResult(
            n=len(gains),
            difference=None,
            interval=None,
            gain=None,
            gain_interval=None,
            verdict="undecided",
        )
    interval = mean_interval(gains, level=1 - ALPHA / len(gains_by_arm), seed=c.study_seed)
    gain = sum(gains) / len(gains)
    excludes_zero = interval.low > 0 or interval.high < 0
    p_value = holm([sign_flip_p(arm_gains) for arm_gains in gains_by_arm])[i]
    verdict: Verdict = "undecided"
    if excludes_zero and p_value <= ALPHA:
        verdict = "helps" if gain > 0 else "hurts"
    return ArmResult(
        n=len(gains),
        difference=gain,
        interval=interval,
        gain=gain,
        gain_interval=interval,
        verdict=verdict,
    )


def _share_gains(c: Comparison, d: Difference, threshold: float) -> list[float]:
    """Return for each pair 1 if only the arm reached the threshold, -1 if only the baseline did.

    Any other pair is 0. A lost run did not reach the threshold.
    """
    pairs = ((row.runs[d.arm], row.runs[d.baseline]) for row in c.seeds)
    return [
        float(arm.reaches(threshold, c.sign) - baseline.reaches(threshold, c.sign))
        for arm, baseline in pairs
        if arm.value is not None and baseline.value is not None
    ]
