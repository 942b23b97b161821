"""Sentences on the tuning curves: which arm is better with how many trials, and how surely."""

from collections.abc import Iterator

from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.compare.facts.diagnostics import BudgetComparison, Tuning
from gradnoise_service.domain.design import Design
from gradnoise_service.report.words.conditions import Labelled
from gradnoise_service.report.words.numbers import confidence, count

LABEL = "Median of the best of k trials"


def tuning(design: Design, comparison: Comparison) -> Iterator[Labelled]:
    """Yield what the tuning curves of each arm and the baseline show, or why there are none."""
    found = comparison.diagnostics.tuning
    if found is None:
        return
    if found.absent is not None:
        yield LABEL, f"no curve: {_absence(design, found)}"
    for compared in found.comparisons:
        yield (
            f"{LABEL}, {compared.arm} against {compared.baseline}",
            f"{_leads(compared)}; {_bands(compared, found)}",
        )


def _absence(design: Design, found: Tuning) -> str:
    search = design.spec.search
    if found.absent == "open" or search is None:
        return "not every declared search trial has ended"
    cause = (
        f"the sampler was {search.sampler}"
        if found.absent == "sampler"
        else f"the pruner {search.pruner.name} ends trials early"
    )
    return f"it needs independent trials (sampler random, no pruner), and {cause}"


def _leads(compared: BudgetComparison) -> str:
    match compared.leads:
        case ():
            return f"the estimates are equal with {_trials(1, compared.n)}"
        case (lead,):
            return f"{lead.arm}'s estimate is better with {_trials(lead.first, lead.last)}"
        case (first, second):
            return (
                f"{first.arm}'s estimate is better with {_trials(first.first, first.last)}, "
                f"{second.arm}'s with {_trials(second.first, second.last)}"
            )
        case leads:
            last = leads[-1]
            return (
                f"the estimates cross {len(leads) - 1} times, and {last.arm}'s is better with "
                f"{_trials(last.first, last.last)}"
            )


def _bands(compared: BudgetComparison, found: Tuning) -> str:
    bands = f"the {confidence(found.confidence)} bands, over all k and arms together,"
    each = f"{count(compared.n, 'trial')} of each arm"
    reach = (
        f"{each} bound the median on both sides up to k = {compared.reach}"
        if compared.reach
        else f"{each} bound the median on both sides for no k"
    )
    apart = [
        f"{compared.arm}'s is {side} with {_trials(*span)}"
        for span, side in ((compared.better, "better"), (compared.worse, "worse"))
        if span
    ]
    if apart:
        return f"{bands} are apart: {', '.join(apart)} ({reach})"
    return (
        f"{bands} overlap everywhere, so these trials do not show at which budget {compared.arm} "
        f"is better ({reach})"
    )


def _trials(first: int, last: int) -> str:
    return count(first, "trial") if first == last else f"{first} to {last} trials"
