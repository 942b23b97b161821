"""Remarks on a search as labelled texts: learning rates, importance, tuning curves."""

from collections.abc import Iterator, Sequence

from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.compare.facts.diagnostics import RateRange
from gradnoise_service.domain.design import Design
from gradnoise_service.report.words.conditions import Labelled
from gradnoise_service.report.words.numbers import duration, number
from gradnoise_service.report.words.tuning_curves import tuning

EVEN_SAMPLERS = ("random", "grid", "qmc")
"""Samplers whose settings do not depend on earlier results."""


def remarks(design: Design, comparison: Comparison) -> Iterator[Labelled]:
    """Yield the remarks on the search of each arm."""
    rates = {rate.arm: rate for rate in comparison.diagnostics.rates}
    for arm, rate in rates.items():
        baseline = rates.get(comparison.baseline.name)
        text = _rate_range(rate, baseline, comparison.smallest_difference)
        yield f"Usable learning rates of {arm}", text
    for summary in comparison.arms:
        yield from _importances(design, comparison, summary.name)
        yield from _interactions(comparison, summary.name)
    yield from tuning(design, comparison)
    yield from _device_time(design, comparison)


def _rate_range(rate: RateRange, baseline: RateRange | None, delta: float) -> str:
    near = f"within {number(delta)} of its best value ({number(rate.best)})"
    if rate.n_within == 1:
        return f"{number(rate.low)} only: no other trial came {near}"
    return (
        f"{number(rate.low)} to {number(rate.high)}, a factor of {_factor(rate)}"
        f"{_against(rate, baseline)}: {rate.n_within} of the {rate.n_between} trials in this range "
        f"came {near}"
    )


def _against(rate: RateRange, baseline: RateRange | None) -> str:
    if baseline is None or rate.width is None or rate.width == "equal":
        return ""
    if rate.width == "too_few_trials":
        return f"; too few trials came so close to compare it with {baseline.arm}'s"
    return f"; {rate.width} than {baseline.arm}'s factor of {_factor(baseline)}"


def _factor(rate: RateRange) -> str:
    return f"{rate.factor:.3g}"


def _device_time(design: Design, c: Comparison) -> Iterator[Labelled]:
    """Yield how equal the searches' device time was, where the arms were tuned by it."""
    seconds = {arm.name: arm.search.device_seconds for arm in c.arms}
    least = min(seconds.values())
    if design.spec.budget.equal == "device_seconds" and least > 0:
        times = ", ".join(f"{arm} {duration(of_arm)}" for arm, of_arm in seconds.items())
        ratio = number(max(seconds.values()) / least)
        yield "Device time of the search", f"{times}: the most is {ratio} times the least"


def _importances(design: Design, c: Comparison, arm: str) -> Iterator[Labelled]:
    explained = [found for found in c.diagnostics.importances if found.arm == arm]
    if not explained:
        return
    search = design.spec.search
    bias = (
        f"; {search.sampler} sampled mostly good settings, which lowers the shares"
        if search is not None and search.sampler not in EVEN_SAMPLERS
        else ""
    )
    shares = ", ".join(f"{found.name} {_share(found.share)}" for found in explained)
    n, reach = explained[0].n, _reach([found.chance for found in explained])
    yield (
        f"Variance of {arm}'s values explained",
        f"{shares} (share of the variance of ranks, each alone, over {n} trials; noise alone "
        f"reaches {reach}{bias})",
    )


def _interactions(c: Comparison, arm: str) -> Iterator[Labelled]:
    explained = [found for found in c.diagnostics.interactions if found.arm == arm]
    if not explained:
        return
    names = {" with ".join(found.names): found.share for found in explained}
    shares = ", ".join(f"{pair} {_share(share)}" for pair, share in names.items())
    n, reach = explained[0].n, _reach([found.chance for found in explained])
    yield (
        f"Variance of {arm}'s values explained by pairs",
        f"{shares} beyond what each explains alone (over {n} trials; noise alone reaches {reach})",
    )


def _share(share: float) -> str:
    return f"{100 * share:.0f} %"


def _reach(chances: Sequence[float]) -> str:
    low, high = _share(min(chances)), _share(max(chances))
    return low if low == high else f"{low.removesuffix(' %')} to {high}"
