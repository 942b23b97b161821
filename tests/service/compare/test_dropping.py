"""Dropped arms: an arm stops at the look that settles it, and the error over all looks is kept."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from gradnoise_service.compare.assembly import compare
from gradnoise_service.compare.dropping import dropped
from gradnoise_service.compare.facts.comparison import Difference, Searches
from gradnoise_service.compare.facts.findings import EarlyStop, Waiting
from gradnoise_service.compare.intervals import mean_interval
from gradnoise_service.compare.searches import degrees, p_of_searches, welch_interval
from gradnoise_service.compare.sign_flips import sign_flip_p
from gradnoise_service.compare.verdict import decide
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.sequential import ALPHA
from gradnoise_service.domain.study import Metric, Trial
from statistics_page import documented

Make = Callable[..., tuple[Design, list[Trial]]]
CONFIRM: Mapping[str, object] = {"n_seeds": 24, "looks": [12, 18]}
BASE = [0.1 + i / 1000 for i in range(24)]
CLEAR = [0.9 - i / 500 for i in range(24)]
WORSE = [0.01 - i / 5000 for i in range(24)]
MIXED = [0.3 if i % 2 else 0.0 for i in range(24)]
NEXT_TO_EQUAL = [base - (0.06 if i % 2 else -0.03) for i, base in enumerate(BASE)]


def by_arm(design: Design, metric: Metric, trials: list[Trial]) -> dict[str, Difference]:
    comparison = compare(design, metric, trials, protocol={})
    return {difference.arm: difference for difference in comparison.differences}


@pytest.mark.parametrize(
    ("values", "verdict", "reason"),
    [
        (CLEAR, "helps", "interval_beyond"),
        (WORSE, "hurts", "interval_beyond"),
        (BASE, "no_difference", "interval_within"),
        (NEXT_TO_EQUAL, "undecided", "interval_below"),
    ],
)
def test_an_arm_stops_at_the_look_that_settles_it(
    make_trials: Make, accuracy: Metric, values: list[float], verdict: str, reason: str
) -> None:
    """Its result is that of this look, whatever the other arms and its own later runs measure."""
    first = {"baseline": BASE[:12], "noisy": values[:12], "open": MIXED[:12]}
    changes = {"confirm": CONFIRM, "smallest_difference": 0.05}
    settled = by_arm(*_with_metric(make_trials(first | {"open": BASE[:12]}, **changes), accuracy))
    assert (settled["noisy"].verdict, settled["noisy"].reason) == (verdict, reason)
    assert settled["noisy"].dropped_at is None  # the study ended at this look
    later = {"baseline": BASE, "noisy": values[:12], "open": MIXED}
    design, trials = make_trials(later, **changes)
    comparison = compare(design, accuracy, trials, protocol={})
    noisy, other = comparison.differences
    assert noisy == settled["noisy"].model_copy(update={"dropped_at": 12})
    assert (other.n, other.dropped_at, comparison.is_final) == (24, None, True)
    runs = [row.runs["noisy"].outcome for row in comparison.seeds]
    assert runs == ["complete"] * 12 + ["dropped"] * 12
    tally = comparison.arm("noisy").confirm
    assert (tally.n_declared, tally.n_complete) == (12, 12)
    assert EarlyStop(arm="noisy", n_seeds=12, n_declared=24) in comparison.findings
    revived, trials = make_trials(later | {"noisy": [*values[:12], *MIXED[:12]]}, **changes)
    assert by_arm(revived, accuracy, trials)["noisy"] == noisy


def _with_metric(
    made: tuple[Design, list[Trial]], metric: Metric
) -> tuple[Design, Metric, list[Trial]]:
    return made[0], metric, made[1]


def test_while_others_continue_a_dropped_arm_has_its_verdict(
    make_trials: Make, accuracy: Metric
) -> None:
    values = {"baseline": BASE[:17], "noisy": CLEAR[:12], "open": MIXED[:17]}
    design, trials = make_trials(values, confirm=CONFIRM)
    comparison = compare(design, accuracy, trials, protocol={})
    noisy, other = comparison.differences
    assert (noisy.verdict, noisy.n, noisy.dropped_at) == ("helps", 12, 12)
    assert (other.no_verdict, comparison.is_final) == (Waiting(undecided_at=(12,)), False)


@pytest.mark.parametrize(
    ("confirm", "arms"),
    [
        (CONFIRM | {"drop": False}, {"noisy": CLEAR, "open": MIXED}),
        (CONFIRM, {"noisy": MIXED}),
        ({"n_seeds": 24}, {"noisy": CLEAR, "open": MIXED}),
        ({"n_seeds": 24, "anytime": True}, {"noisy": CLEAR, "open": MIXED}),
    ],
)
def test_without_looks_with_two_arms_or_if_declared_no_arm_is_dropped(
    make_trials: Make, accuracy: Metric, confirm: dict[str, object], arms: dict[str, list[float]]
) -> None:
    design, trials = make_trials({"baseline": BASE, **arms}, confirm=confirm)
    assert dropped(design, accuracy, trials) == {}
    assert {d.n for d in by_arm(design, accuracy, trials).values()} == {24}


def test_an_extension_adds_seeds_to_the_arms_that_were_not_dropped(
    make_trials: Make, accuracy: Metric
) -> None:
    """An arm that the last look before the extension settled was not dropped there."""
    values = {
        "baseline": [*BASE, 0.2, 0.2],
        "early": CLEAR[:12],
        "open": [*MIXED, 0.1, 0.1],
    }
    design, trials = make_trials(values, confirm=CONFIRM)
    extended = design.at(24).extended(2)
    found = by_arm(extended, accuracy, trials)
    assert (found["early"].verdict, found["early"].dropped_at, found["early"].n) == (
        "helps",
        12,
        12,
    )
    assert (found["open"].dropped_at, found["open"].n) == (None, 26)
    ended, trials = make_trials(
        {"baseline": BASE[:14], "early": CLEAR[:14], "open": CLEAR[:14]}, confirm=CONFIRM
    )
    at_first = by_arm(ended.at(12).extended(2), accuracy, trials)
    assert {(d.dropped_at, d.n) for d in at_first.values()} == {(None, 14)}


def test_a_grid_drops_after_every_setting_of_a_look(make_grid: Make, accuracy: Metric) -> None:
    confirm = {"n_seeds": 12, "looks": [6, 9]}
    values = {"baseline": BASE, "noisy": CLEAR[:12], "open": MIXED}
    design, trials = make_grid(values, confirm=confirm)
    noisy, other = compare(design, accuracy, trials, protocol={}).differences
    assert (noisy.verdict, noisy.dropped_at, noisy.n) == ("helps", 6, 12)
    assert other.n == 24


def test_repeated_searches_are_dropped_by_their_means(make_trials: Make, accuracy: Metric) -> None:
    search = {"n_trials": 4, "epochs": 3, "repeats": 3, "rerun": {"n_seeds": 0}}
    by_search = [0.3 if i % 3 else 0.0 for i in range(24)]
    values = {"baseline": BASE, "noisy": CLEAR[:12], "open": by_search}
    design, trials = make_trials(values, n_search=12, search=search, confirm=CONFIRM)
    noisy, other = compare(design, accuracy, trials, protocol={}).differences
    assert (noisy.verdict, noisy.dropped_at, noisy.n) == ("helps", 12, 12)
    assert noisy.searches is not None
    assert other.n == 24


def test_the_dropped_arms_follow_from_the_trials_in_any_order(
    make_trials: Make, accuracy: Metric
) -> None:
    values = {"baseline": BASE, "a": CLEAR[:12], "b": MIXED, "c": MIXED[:12] + BASE[12:18]}
    design, trials = make_trials(values, confirm=CONFIRM)
    found = dropped(design, accuracy, trials)
    assert dropped(design, accuracy, trials[::-1]) == found
    assert found["a"].dropped_at == 12
    assert "b" not in found


DRAWS: Mapping[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "learns or not": lambda rng, shape: (
        np.where(rng.random(shape) < 0.5, 1.0, -1.0) + rng.normal(0, 0.05, shape)
    ),
}


def outcomes(design: Design, data: str, gains: Sequence[float], n_studies: int) -> np.ndarray:
    """Return of simulated studies [error, power, runs, undropped], a row each.

    An error is a verdict `helps` or `hurts` on an arm without a gain, power the verdict `helps` on
    every arm with one. `runs` is the share of the confirm runs that are made, `undropped` the same
    if every arm runs until one look decides all of them.
    """
    rng, found = np.random.default_rng(0), []
    looks, n_sides = design.looks, 1 + len(gains)
    for k in range(n_studies):
        runs = DRAWS[data](rng, (n_sides, looks[-1]))
        arms = runs[1:] + np.array(gains)[:, None] - runs[0]
        paths = [[_verdict(design.at(n), x[:n].tolist(), k) for n in looks] for x in arms]
        ends = [next((i for i, v in enumerate(path) if _settles(v)), -1) for path in paths]
        given = [path[end][0] for path, end in zip(paths, ends, strict=True)]
        n_runs = [looks[end] for end in ends]
        together = (i for i in range(len(looks)) if all(p[i][0] != "undecided" for p in paths))
        pairs = list(zip(given, gains, strict=True))
        found.append(
            [
                any(verdict in ("helps", "hurts") for verdict, gain in pairs if gain == 0),
                all(verdict == "helps" for verdict, gain in pairs if gain > 0),
                (max(n_runs) + sum(n_runs)) / (n_sides * looks[-1]),
                looks[next(together, -1)] / looks[-1],
            ]
        )
    return np.array(found, dtype=float)


def _verdict(design: Design, gains: list[float], seed: int) -> tuple[str, str]:
    p = min(1.0, design.n_comparisons * sign_flip_p(gains))
    interval = mean_interval(gains, level=1 - design.level, seed=seed)
    alpha, delta = design.level * design.n_comparisons, design.spec.smallest_difference
    return decide(interval, delta, p, alpha, may_drop=not design.is_last_look)


def _settles(verdict: tuple[str, str]) -> bool:
    return verdict[0] != "undecided" or verdict[1] == "interval_below"


@pytest.mark.slow
@pytest.mark.parametrize("data", DRAWS)
@pytest.mark.parametrize("boundary", ["obrien_fleming", "pocock"])
def test_with_dropped_arms_the_error_and_the_runs_are_the_documented_ones(
    make_trials: Make, boundary: str, data: str
) -> None:
    """The first studies are those of the table.

    Bounds: two standard errors of the table's 1,000 studies above 5 %, three of these here.
    """
    design, _ = make_trials(
        {"baseline": [], "better": [], "equal": [], "other": []},
        confirm={**CONFIRM, "boundary": boundary},
        smallest_difference=1.4,
    )
    n = 60
    measured = outcomes(design, data, (1.4, 0, 0), n)
    expected = np.array(documented(boundary, data))
    assert expected[0] <= ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / 1_000)
    errors = np.maximum(measured.std(axis=0), np.sqrt(expected * (1 - expected))) / math.sqrt(n)
    assert np.all(np.abs(measured.mean(axis=0) - expected) <= 3 * errors + 0.001)


@pytest.mark.slow
def test_with_dropped_arms_equal_searches_err_in_at_most_5_percent(make_trials: Make) -> None:
    """Welch's verdict on 3 searches of each arm; bound: two standard errors of the simulation.

    Searches and seeds vary by equal amounts. An arm ends at its first look that settles it.
    """
    search = {"n_trials": 4, "epochs": 3, "repeats": 3, "rerun": {"n_seeds": 0}}
    design, _ = make_trials(
        {"baseline": [], "one": [], "two": [], "three": []},
        search=search,
        confirm={**CONFIRM, "boundary": "pocock"},
        smallest_difference=5.0,
    )
    rng, n_studies, wrong, n_early = np.random.default_rng(1), 1_000, 0, 0
    for _ in range(n_studies):
        means = rng.normal(size=(4, 3, 1)) + rng.normal(size=(4, 3, 8)).cumsum(axis=2) / (
            1 + np.arange(8)
        )
        ends = [_search_end(design, means[1 + arm], means[0]) for arm in range(3)]
        wrong += any(verdict in ("helps", "hurts") for verdict, _ in ends)
        n_early += sum(n < 24 for _, n in ends)
    assert wrong / n_studies <= ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / n_studies)
    assert n_early > n_studies / 2  # of three arms in each study


def _search_end(design: Design, arm: np.ndarray, baseline: np.ndarray) -> tuple[str, int]:
    """Return verdict and seeds of the look at which an arm ends, from running means by search."""
    for n in design.looks:
        here, k = design.at(n), n // 3 - 1
        found = Searches(
            n=3,
            means=tuple(arm[:, k]),
            baseline_means=tuple(baseline[:, k]),
            degrees=degrees(arm[:, k].tolist(), baseline[:, k].tolist()),
            search_sd=None,
            seed_sd=None,
            baseline_search_sd=None,
            baseline_seed_sd=None,
        )
        p = min(1.0, here.n_comparisons * p_of_searches(found, here.level))
        interval = welch_interval(found, 1, level=1 - here.level)
        verdict = decide(
            interval, 5.0, p, here.level * here.n_comparisons, may_drop=not here.is_last_look
        )
        if _settles(verdict):
            break
    return verdict[0], n
