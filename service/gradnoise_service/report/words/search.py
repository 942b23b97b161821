"""Sentences on the size and the luck of a search."""

from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.compare.facts.luck import (
    FewNearBest,
    IgnoredBySampler,
    RepeatedSearch,
    SmallSearch,
    StrictLook,
    TooFewSeeds,
    UnknownLuck,
)
from gradnoise_service.compare.search_size import Limit, limits
from gradnoise_service.domain.design import Design
from gradnoise_service.report.words.numbers import confidence, count, level, listed, number, span


def declared_limits(design: Design) -> tuple[str, ...]:
    """Return what a study cannot show, as far as its declaration determines it."""
    return tuple(_limit(design, finding) for finding in limits(design))


def small_search(finding: SmallSearch) -> str:
    return (
        f"The search of {finding.arm} is small: {count(finding.n_trials, 'trial')} for "
        f"{count(finding.n_parameters, 'searched parameter')}, where at least {finding.n_needed} "
        "are needed (10 for each). Another search of this size may choose a much better or worse "
        "setting."
    )


def ignored_by_sampler(finding: IgnoredBySampler) -> str:
    """Return what a sampler does not use, a sentence for each."""
    sampler = finding.sampler
    sentences = []
    if finding.choices:
        of_arms = [f"{listed(names)} of {arm}" for arm, names in finding.choices.items()]
        sentences.append(f"{sampler} draws choices at random: {', '.join(of_arms)}.")
    if finding.n_random:
        sentences.append(
            f"{sampler} draws all {finding.n_random} trials of a search at random: a search of "
            "this size ends before it learns from earlier trials."
        )
    if finding.pruned:
        sentences.append(f"{sampler} learns from complete trials and ignores pruned ones.")
    return " ".join(sentences)


def few_near_best(comparison: Comparison, finding: FewNearBest) -> str:
    near = "no other" if finding.n_near == 1 else f"only {finding.n_near - 1} other"
    return (
        f"The search of {finding.arm} may have missed better settings: {near} of its "
        f"{finding.n_complete} complete trials came within "
        f"{number(comparison.smallest_difference)} of its best value ({number(finding.best)}). The "
        "search is too small, or its space too wide."
    )


def repeated_search(comparison: Comparison, finding: RepeatedSearch) -> str:
    """Return how far repeating both searches could move a difference, and what that means."""
    luck = finding.luck
    return (
        f"{finding.arm} and {finding.baseline} were each tuned once. Repeating both searches could "
        f"move their difference by ±{number(luck.reach)}: with this, its "
        f"{confidence(luck.interval.level)} interval is {span(luck.interval)}"
        f"{_consequence(comparison, finding)}.{_approximation(finding)}"
    )


def unknown_luck(finding: UnknownLuck) -> str:
    needed = (
        f"it has {count(finding.n_complete, 'complete trial')}, and at least {finding.n_needed} "
        "are needed"
        if finding.n_complete < finding.n_needed
        else "the better half of its trials has the same value"
    )
    return (
        f"How far repeating the search of {finding.arm} could move the difference cannot be "
        f"estimated: {needed}."
    )


def _limit(design: Design, finding: Limit) -> str:
    match finding:
        case SmallSearch():
            return small_search(finding)
        case IgnoredBySampler():
            return ignored_by_sampler(finding)
        case StrictLook():
            return _strict_look(finding)
        case TooFewSeeds():
            return _too_few_seeds(design, finding)


def _consequence(comparison: Comparison, finding: RepeatedSearch) -> str:
    low, high = finding.luck.interval.low, finding.luck.interval.high
    delta = comparison.smallest_difference
    verdict = next(d.verdict for d in comparison.differences if d.arm == finding.arm)
    match verdict:
        case "undecided":
            return ""
        case "no_difference":
            if max(-low, high) < delta:
                return f", still within ±{number(delta)}"
            return f", which is not within ±{number(delta)}: other searches may find a difference"
        case _:
            if low <= 0 <= high:
                return ", which includes 0: the difference may be due to the searches"
            return ", which still excludes 0"


def _approximation(finding: RepeatedSearch) -> str:
    if finding.sampler in ("random", "grid"):
        return ""
    return (
        " The estimate treats the settings as drawn at random; with "
        f"{finding.sampler} the searches may vary less."
    )


def _strict_look(finding: StrictLook) -> str:
    return (
        f"The look at {finding.n_seeds} seeds hardly decides: at its level, "
        f"{level(finding.level)}, {finding.n_searches} searches need a difference "
        f"{finding.times:.1f} times as large as for a single verdict. Declare more repeats, a "
        "later look, or the boundary pocock."
    )


def _too_few_seeds(design: Design, finding: TooFewSeeds) -> str:
    each = "" if design.n_settings == 1 else f" of {count(design.n_settings, 'setting')}"
    return (
        f"{count(design.n_seeds, 'confirm seed')}{each} cannot give a verdict: at least "
        f"{finding.n_needed} pairs of runs are needed, but there are {finding.n_pairs}."
    )
