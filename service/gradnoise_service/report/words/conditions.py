"""The conditions that were equal in all arms, as labelled texts."""

from collections.abc import Iterator

from gradnoise_service.domain.design import Design
from gradnoise_service.domain.search import RANDOM_TRIALS, Search
from gradnoise_service.domain.sequential import ALPHA
from gradnoise_service.domain.study import Metric
from gradnoise_service.report.words.anytime import VALID_AT_ANY_TIME
from gradnoise_service.report.words.looks import BOUNDARIES
from gradnoise_service.report.words.numbers import count, given, level, listed, number
from gradnoise_service.report.words.settings import length, space
from gradnoise_service.report.words.warnings import budgets

Labelled = tuple[str, str]
"""A label and a text."""


def held_equal(design: Design, metric: Metric) -> Iterator[Labelled]:
    """Yield what was equal in all arms."""
    spec = design.spec
    first, *others = (spec.recipe(arm) for arm in spec.arms)
    options = ", ".join(
        f"{name} {given(value)}"
        for name, value in first.options.items()
        if all(name in other.options and other.options[name] == value for other in others)
    )
    workload = f"{spec.workload} ({options})" if options else spec.workload
    has_one_optimizer = all(other.optimizer == first.optimizer for other in others)
    yield "Workload", workload + (f", optimizer {first.optimizer}" if has_one_optimizer else "")
    yield (
        "Data",
        "split by the workload, identically in all arms on each seed; if the split does not depend "
        "on the seed, the verdict holds for this split alone",
    )
    if spec.space:
        yield "Shared space", "; ".join(f"{name} {space(e)}" for name, e in spec.space.items())
    yield from _no_tuning(design) if spec.search is None else _tuning(design, spec.search)
    yield "Confirmation", _confirmation(design)
    if design.is_sequential:
        yield "Declared looks", _looks(design)
    if design.is_anytime:
        yield "Always-valid boundary", VALID_AT_ANY_TIME
    yield "Judged by", _objective(design, metric)


def _no_tuning(design: Design) -> Iterator[Labelled]:
    settings = "the single setting"
    if design.n_settings > 1:
        settings = f"the same {design.n_settings} settings, every combination of"
    else:
        settings += " of"
    yield "Tuning", f"nothing was tuned: each arm ran {settings} the shared space's values"


def _tuning(design: Design, search: Search) -> Iterator[Labelled]:
    n_trials = {arm.name: design.n_searched(arm.name) for arm in design.spec.arms}
    fewest, most = min(n_trials.values()), max(n_trials.values())
    unequal = f"unequal numbers of trials by arm ({budgets(n_trials)})"
    budget = count(most, "trial") if fewest == most else unequal
    if design.spec.budget.equal == "device_seconds":
        budget = f"equal device seconds, {_affordable(design, n_trials)},"
    pruner = "no pruner" if search.pruner.name == "none" else f"pruner {search.pruner.name}"
    of_each = f"{design.n_repeats} independent searches, each of " if design.n_repeats > 1 else ""
    yield (
        "Search budget",
        f"{of_each}{budget} of {length(design, 'search')}, sampler {search.sampler}, {pruner};"
        f" trial i of every arm has the same seed{_visible(design, search)}",
    )
    searcher = "search" if design.n_repeats > 1 else "arm"
    if design.n_rerun_seeds:
        best = count(min(design.n_finalists, most), "setting")
        selection = (
            f"each {searcher}'s best {best} on validation, rerun on "
            f"{count(design.n_rerun_seeds, 'other seed')} that all arms share; the best mean was "
            "chosen"
        )
        if search.rerun.race:
            selection += "; settings clearly behind after 2 seeds or more were not rerun further"
    else:
        selection = (
            f"each {searcher}'s best value on validation, without reruns: selected on one noisy "
            "value, so biased upwards (winner's curse)"
        )
    yield "Selection", selection


def _visible(design: Design, search: Search) -> str:
    """Return which trials the sampler and the pruner see of a trial's search."""
    lags = {arm.name: design.lag(arm.name) for arm in design.spec.arms if search.learns}
    if not lags:
        return ""
    is_equal = len(set(lags.values())) == 1
    lag = str(next(iter(lags.values())))
    of_arms = "" if is_equal else f" (L: {', '.join(f'{n} for {arm}' for arm, n in lags.items())})"
    n_random = RANDOM_TRIALS.get(search.sampler)
    at_random = "" if n_random is None else f", at random while fewer than {n_random} of them ended"
    verb = "judged by the pruner" if n_random is None else "proposed"
    below = f"i - {lag if is_equal else 'L'}"
    return f"; it was {verb} from the trials of its search below {below}{of_arms}{at_random}"


def _affordable(design: Design, n_trials: dict[str, int]) -> str:
    if not design.costs:
        return f"at most {count(max(n_trials.values()), 'trial')} of each arm"
    costs = ", ".join(f"{arm} {number(cost)}" for arm, cost in design.costs.items())
    source = "as declared" if design.spec.budget.costs else "measured before the search"
    return f"{budgets(n_trials)} (cost of a trial {source}: {costs})"


def _confirmation(design: Design) -> str:
    up_to = "up to " if design.is_sequential else ""
    each = " for each setting" if design.shared_settings else ""
    if design.n_repeats > 1:
        each = f", divided among the {design.n_repeats} searches"
    power = design.spec.confirm.power
    declared = (
        f" (for a power of {number(power.power)} at a standard deviation of {number(power.sd)})"
        if power
        else ""
    )
    return (
        f"{up_to}{count(design.n_seeds, 'fresh seed')}{declared}{each}, the same for every arm "
        f"(initialisation, data order), {length(design, 'confirm')}"
    )


def _looks(design: Design) -> str:
    levels = ", ".join(map(level, design.levels))
    stops = (
        "an arm stops at the look that decides it, or that excludes a gain that matters; "
        if design.drops
        else ""
    )
    boundary = BOUNDARIES[design.spec.confirm.boundary]
    return (
        f"at {listed(design.looks)} seeds, until every arm is decided; {stops}interval and test of "
        f"each comparison use the levels {levels} ({boundary}), so that "
        f"over all looks equal arms are called different in at most {level(ALPHA)} of studies"
    )


def _objective(design: Design, metric: Metric) -> str:
    epoch = (
        "after the last epoch"
        if design.spec.judge == "last_epoch"
        else "at the epoch with the best validation value"
    )
    data = (
        "on validation data for search and selection, on held-out test data for confirmation"
        if "search" in design.phases
        else "on held-out test data"
    )
    if not metric.has_test:
        data = "on validation data in every phase; the workload measures no test data"
    return f"{metric.name} {epoch}, {data}"
