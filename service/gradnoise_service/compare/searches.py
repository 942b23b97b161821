"""Repeated searches: Welch's interval of the means of independent searches, and their variance.

The mean of a search's confirm runs varies with the search and with the seeds, so the means of
independent searches measure both, and differences between them are about the technique as tuned
with this budget. The arms tune different parameters, so their variances differ: Welch's interval
allows for it, where a pooled variance would err more often.
"""

import math
import statistics
from collections.abc import Sequence

from gradnoise_service.compare.facts.base import Interval
from gradnoise_service.compare.facts.comparison import Searches
from gradnoise_service.compare.facts.tables import SeedRow
from gradnoise_service.compare.power import searches_to_decide
from gradnoise_service.compare.sign_flips import sign_flip_p
from gradnoise_service.compare.spread import variance_within
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.sequential import fewest_pairs


def searches(design: Design, rows: Sequence[SeedRow], arm: str) -> Searches | None:
    """Return the means of each search's confirm runs; None before every search has a run.

    Args:
        design: A design with repeated searches.
        rows: The confirm runs; a lost run has the metric's worst value.
        arm: The arm that is compared with the baseline.
    """
    sides = [_runs_by_search(design, rows, name) for name in (arm, design.baseline.name)]
    if not all(all(runs) for runs in sides):
        return None
    means = [[statistics.fmean(runs) for runs in of_side] for of_side in sides]
    parts = [_variance_parts(of_side) for of_side in sides]
    return Searches(
        n=design.n_repeats,
        means=tuple(means[0]),
        baseline_means=tuple(means[1]),
        degrees=degrees(*means),
        search_sd=parts[0][0],
        seed_sd=parts[0][1],
        baseline_search_sd=parts[1][0],
        baseline_seed_sd=parts[1][1],
    )


def degrees(means: Sequence[float], baseline: Sequence[float]) -> float:
    """Return the degrees of freedom of Welch and Satterthwaite, between K - 1 and 2 K - 2."""
    one, other = statistics.variance(means), statistics.variance(baseline)
    squares = one**2 + other**2
    if squares == 0:
        return 2.0 * len(means) - 2
    return (len(means) - 1) * (one + other) ** 2 / squares


def welch_interval(found: Searches, sign: int, *, level: float) -> Interval:
    """Return Welch's interval of the gain: the difference of the arms' means over searches.

    The difference ± t sqrt((S_a^2 + S_b^2) / K) with the variances S^2 of the K means of each arm
    (Welch 1947). It has no width if the means of each arm are equal, since their precision is then
    unknown.
    """
    from scipy.special import stdtrit  # type: ignore[import-untyped]  # scipy ships no types

    gain, error = sign * found.difference, found.standard_error
    if error == 0:
        return Interval(low=gain, high=gain, level=level, method="no_width_equal")
    half = float(stdtrit(found.degrees, (1 + level) / 2)) * error
    return Interval(low=gain - half, high=gain + half, level=level, method="welch")


def student_interval(means: Sequence[float], *, level: float) -> tuple[float, float]:
    """Return the ends of Student's interval of an arm's mean over at least 2 searches."""
    from scipy.special import stdtrit

    half = float(stdtrit(len(means) - 1, (1 + level) / 2)) * statistics.stdev(means)
    centre = statistics.fmean(means)
    return centre - half / math.sqrt(len(means)), centre + half / math.sqrt(len(means))


def p_of_searches(found: Searches, alpha: float) -> float:
    """Return the two-sided p-value: of sign flips of the differences by search, or Welch's.

    Sign flips are exact, but need as many searches as a verdict on pairs needs pairs. Welch's p is
    1 without any variance.
    """
    from scipy.special import stdtr

    if found.n >= fewest_pairs(alpha):
        return sign_flip_p([a - b for a, b in zip(found.means, found.baseline_means, strict=True)])
    error = found.standard_error
    if error == 0:
        return 1.0
    return float(2 * stdtr(found.degrees, -abs(found.difference) / error))


def is_precise(found: Searches, alpha: float) -> bool:
    """Return whether the searches show a precision: they differ, or sign flips can decide."""
    return found.standard_error > 0 or found.n >= fewest_pairs(alpha)


def further_searches(design: Design, found: Searches, level: float) -> int | None:
    """Return the further searches of each arm that decide with probability 0.8.

    The difference and the standard deviations are assumed to be the true ones. Without any variance
    only the sign flips decide.
    """
    if found.standard_error == 0:
        return fewest_pairs(1 - level) - found.n
    sd = found.standard_error * math.sqrt(found.n / 2)
    n = searches_to_decide(
        found.n,
        found.difference,
        sd,
        smallest_difference=design.spec.smallest_difference,
        level=level,
    )
    return None if n is None else n - found.n


def _runs_by_search(design: Design, rows: Sequence[SeedRow], arm: str) -> list[list[float]]:
    runs: list[list[float]] = [[] for _ in range(design.n_repeats)]
    for row in rows:
        value = row.runs[arm].value
        if value is not None:
            runs[design.place("confirm", arm, row.number)[0]].append(value)
    return runs


def _variance_parts(runs: Sequence[Sequence[float]]) -> tuple[float | None, float | None]:
    """Return the standard deviations of searches and of seeds: one-way random effects.

    The mean square within searches is the variance of seeds; the variance of the means less its
    part is that of searches, at least 0 (Searle, Casella and McCulloch 1992). None where no search
    has two runs.
    """
    seeds = variance_within(runs)
    if seeds is None:
        return None, None
    of_means = statistics.variance(list(map(statistics.fmean, runs)))
    from_seeds = seeds * statistics.fmean(1 / len(of_search) for of_search in runs)
    return math.sqrt(max(0.0, of_means - from_seeds)), math.sqrt(seeds)
