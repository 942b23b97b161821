"""What the paper claims of an arm, held against what a study of ours found: whether the claim
stood.

| the paper has the arm | it stood when ours | it did not stand when ours | else |
|---|---|---|---|
| ahead of the baseline | helps | hurts, or makes no difference | undecided |
| level with it | makes no difference | helps or hurts | undecided |
| behind it | hurts | helps, or makes no difference | undecided |

Level means within the smallest difference that matters, which the study declares.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gradnoise_service.compare.comparison import Comparison, Difference, Interval, Verdict
from gradnoise_service.compare.intervals import holm, mean_interval, signed_rank_p
from gradnoise_service.compare.verdict import ALPHA
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.presets.table import Figures

Standing = Literal["stood", "did not stand", "undecided", "not in the paper"]
Place = Literal["ahead of", "level with", "behind"]
STOOD: Mapping[Place, Verdict] = {
    "ahead of": "helps",
    "level with": "no_difference",
    "behind": "hurts",
}


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A complete study of a row of a table, and the scale at which it ran."""

    scale: str
    spec: StudySpec
    comparison: Comparison


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a study found of an arm: over `n` pairs, as a difference in the metric's own sign, and
    as a gain, above 0 better.
    """

    n: int
    difference: float | None
    interval: Interval | None
    gain: float | None
    gain_interval: Interval | None
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Claim:
    """An arm in the paper and in a study. `figures` are those that the paper's claim rests on, None
    where it has none of this arm.
    """

    arm: str
    baseline: str
    figures: Figures | None
    place: Place | None
    paper_gain: float | None
    found: Found
    standing: Standing


def claims(figures: Sequence[Figures], ran: Ran) -> list[Claim]:
    """Return what the paper claims of each arm against the baseline, held against a study.

    A claim rests on the mean where the paper has it, else on the share of runs that came to its
    first threshold, else on the best run. Of a mean or a best run the study's verdict decides,
    which is of the mean; of a share the paired difference in this share: it helps or hurts if its
    interval (Bonferroni) leaves out 0 and the exact signed-rank test (Holm) bears it out.
    """
    told = _joined(figures)
    return [_claim(told, ran.comparison, difference) for difference in ran.comparison.differences]


def _joined(figures: Sequence[Figures]) -> list[Figures]:
    """Return figures of the same kind as one: the paper's versions have some arms here and some
    there.
    """
    kinds: dict[tuple[object, ...], Figures] = {}
    for one in figures:
        kind = (one.statistic, one.threshold, one.split)
        values = kinds[kind].values if kind in kinds else {}
        kinds[kind] = one.model_copy(update={"values": {**one.values, **values}})
    return list(kinds.values())


def _claim(figures: Sequence[Figures], c: Comparison, d: Difference) -> Claim:
    order = ("mean", "reached", "best")
    told = sorted(
        (f for f in figures if {d.arm, d.baseline} <= set(f.values)),
        key=lambda f: order.index(f.statistic),
    )
    if not told:
        return Claim(
            arm=d.arm,
            baseline=d.baseline,
            figures=None,
            place=None,
            paper_gain=None,
            found=_mean(d),
            standing="not in the paper",
        )
    basis = told[0]
    is_share = basis.threshold is not None
    sign = 1 if is_share else c.sign
    gain = sign * (basis.values[d.arm] - basis.values[d.baseline])
    matters = 0.0 if is_share else c.smallest_difference
    place: Place = "ahead of" if gain > matters else "behind" if gain < -matters else "level with"
    found = _share(c, d, basis.threshold) if basis.threshold is not None else _mean(d)
    standing: Standing = (
        "undecided"
        if found.verdict == "undecided"
        else "stood"
        if found.verdict == STOOD[place]
        else "did not stand"
    )
    return Claim(
        arm=d.arm,
        baseline=d.baseline,
        figures=basis,
        place=place,
        paper_gain=gain,
        found=found,
        standing=standing,
    )


def _mean(d: Difference) -> Found:
    return Found(
        n=d.n,
        difference=d.difference,
        interval=d.difference_interval,
        gain=d.gain,
        gain_interval=d.gain_interval,
        verdict=d.verdict,
    )


def _share(c: Comparison, d: Difference, threshold: float) -> Found:
    """Return the paired difference in the share of runs that came to a threshold; a lost run never
    did.
    """
    of_arms = [_share_gains(c, one, threshold) for one in c.differences]
    i = c.differences.index(d)
    gains = of_arms[i]
    if min(map(len, of_arms)) < 2:
        return Found(
            n=len(gains),
            difference=None,
            interval=None,
            gain=None,
            gain_interval=None,
            verdict="undecided",
        )
    interval = mean_interval(gains, level=1 - ALPHA / len(of_arms), seed=c.study_seed)
    gain = sum(gains) / len(gains)
    is_clear = holm([signed_rank_p(one) for one in of_arms])[i] <= ALPHA and (
        interval.low > 0 or interval.high < 0
    )
    verdict: Verdict = "undecided" if not is_clear else "helps" if gain > 0 else "hurts"
    return Found(
        n=len(gains),
        difference=gain,
        interval=interval,
        gain=gain,
        gain_interval=interval,
        verdict=verdict,
    )


def _share_gains(c: Comparison, d: Difference, threshold: float) -> list[float]:
    """Return for each pair 1 where the arm alone came to the threshold, -1 where the baseline alone
    did, else 0.
    """
    pairs = ((row.runs[d.arm], row.runs[d.baseline]) for row in c.seeds)
    return [
        float(arm.reaches(threshold, c.sign) - baseline.reaches(threshold, c.sign))
        for arm, baseline in pairs
        if arm.value is not None and baseline.value is not None
    ]
