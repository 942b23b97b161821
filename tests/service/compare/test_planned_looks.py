"""Declared looks: a study ends at the first that decides, each look is held to its own level, and
all together err as often as one.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from gradnoise_service.compare import at_look, compare
from gradnoise_service.compare.intervals import signed_rank_p
from gradnoise_service.compare.power import chances
from gradnoise_service.compare.tables import seed_rows
from gradnoise_service.compare.verdict import ALPHA, adjusted, judge, level_at
from gradnoise_service.domain.looks import OBRIEN_FLEMING, POCOCK, crossing_chance, nominal_levels
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Trial

Make = Callable[..., tuple[StudySpec, list[Trial]]]
PLAN = (12, 18, 24)
CONFIRM = {"n_seeds": 24, "looks": [12, 18]}
BASE = [0.1 + i / 1000 for i in range(24)]
CLEAR = [0.9 - i / 500 for i in range(24)]
MIXED = [0.4 if i % 2 else -0.2 for i in range(24)]


@pytest.mark.parametrize(
    ("boundary", "shape"), [("obrien_fleming", OBRIEN_FLEMING), ("pocock", POCOCK)]
)
def test_each_look_is_held_to_its_nominal_level(
    make_trials: Make, accuracy: Metric, boundary: str, shape: float
) -> None:
    confirm = CONFIRM | {"boundary": boundary}
    spec, trials = make_trials({"baseline": BASE[:12], "noisy": CLEAR[:12]}, confirm=confirm)
    comparison = compare(spec, accuracy, trials, protocol={})
    levels = nominal_levels(PLAN, shape=shape, alpha=0.05)
    assert comparison.plan is not None
    assert (comparison.plan.looks, comparison.plan.levels, comparison.plan.n_seeds) == (
        PLAN,
        tuple(levels),
        12,
    )
    (difference,) = comparison.differences
    assert difference.gain_interval is not None
    assert difference.gain_interval.level == 1 - levels[0]
    once = compare(
        *_parts(make_trials({"baseline": BASE[:12], "noisy": CLEAR[:12]}), accuracy), protocol={}
    ).differences[0]
    assert once.gain_interval is not None
    assert (
        difference.gain_interval.low
        < once.gain_interval.low
        < once.gain_interval.high
        < difference.gain_interval.high
    )


def test_an_early_end_is_said_with_the_seeds_that_were_spared_and_a_caution(
    make_trials: Make, accuracy: Metric
) -> None:
    spec, trials = make_trials({"baseline": BASE[:12], "noisy": CLEAR[:12]}, confirm=CONFIRM)
    comparison = compare(spec, accuracy, trials, protocol={})
    assert (comparison.verdict, comparison.is_final, len(comparison.seeds)) == ("helps", True, 12)
    assert comparison.sentence.endswith(
        " This is look 1 of the 3 that were declared, at 12 of 24 seeds: interval and test are "
        "held to 0.42 % here (O'Brien and Fleming), "
        "so that over all looks equal arms are called better or worse in at most 5 % of studies. "
        "The study ended early: the other 12 paired seeds were not needed."
    )
    assert [warning for warning in comparison.warnings if "biased, away from 0" in warning]
    assert (comparison.looks, comparison.false_verdict_chance) == ((), ALPHA)
    (looks,) = [fact.value for fact in comparison.held_equal if fact.name == "Declared looks"]
    assert looks.startswith(
        "at 12, 18, 24 seeds, until every arm is decided; interval and test of each comparison are "
        "held to 0.42 %,"
    )


@pytest.mark.parametrize(
    ("n_run", "n_seeds", "is_final"),
    [
        (0, 12, False),
        (11, 12, False),
        (12, 18, False),
        (17, 18, False),
        (18, 24, False),
        (24, 24, True),
    ],
)
def test_an_undecided_look_leads_to_the_next(
    make_trials: Make, accuracy: Metric, n_run: int, n_seeds: int, is_final: bool
) -> None:
    spec, trials = make_trials({"baseline": BASE[:n_run], "noisy": MIXED[:n_run]}, confirm=CONFIRM)
    here = at_look(spec, accuracy, trials)
    comparison = compare(spec, accuracy, trials, protocol={})
    assert (here.confirm.n_seeds, len(comparison.seeds), comparison.is_final) == (
        n_seeds,
        n_seeds,
        is_final,
    )
    assert comparison.verdict == "undecided"
    if is_final:
        assert "look 3 of the 3" in comparison.sentence
        assert not [warning for warning in comparison.warnings if "ended early" in warning]
    else:
        assert comparison.sentence.startswith("No verdict: ")
        assert ("undecided at the declared looks so far, at 12" in comparison.sentence) == (
            n_run >= 12
        )


def test_several_arms_go_on_until_each_is_decided(make_trials: Make, accuracy: Metric) -> None:
    first = {"baseline": BASE[:12], "noisy": CLEAR[:12], "constant": MIXED[:12]}
    spec, trials = make_trials(first, confirm=CONFIRM)
    assert at_look(spec, accuracy, trials).confirm.n_seeds == 18
    decided, trials = make_trials(first | {"constant": BASE[:12]}, confirm=CONFIRM)
    assert at_look(decided, accuracy, trials).confirm.n_seeds == 12
    comparison = compare(decided, accuracy, trials, protocol={})
    assert [d.verdict for d in comparison.differences] == ["helps", "no_difference"]
    assert (
        "are held to 0.12 % here for each of 2 comparisons (p, times their number, must be at most"
        in comparison.sentence
    )
    assert comparison.plan is not None
    assert comparison.plan.levels[0] == nominal_levels(PLAN, shape=OBRIEN_FLEMING, alpha=0.025)[0]
    # Holm would leave the second at 0.03
    assert adjusted(spec, {"noisy": 0.01, "constant": 0.03}) == {"noisy": 0.02, "constant": 0.06}


def test_an_arm_without_a_setting_keeps_no_study_going(make_trials: Make, accuracy: Metric) -> None:
    spec, trials = make_trials({"baseline": BASE[:12], "noisy": []}, confirm=CONFIRM)
    failed = [t for t in trials if (t.phase, t.arm) != ("search", "noisy")]
    assert at_look(spec, accuracy, failed).confirm.n_seeds == 12
    # its search has not ended
    assert compare(spec, accuracy, failed, protocol={}).is_final is False


def test_an_extension_beyond_the_plan_counts_every_look_at_its_own_level(
    make_trials: Make, accuracy: Metric
) -> None:
    declared, trials = make_trials({"baseline": BASE, "noisy": CLEAR}, confirm=CONFIRM)
    spec = declared.at_seeds(12).at_seeds(24)
    levels = nominal_levels(PLAN, shape=OBRIEN_FLEMING, alpha=0.05)
    assert spec.confirm.plan == PLAN
    longer = declared.at_seeds(12).at_seeds(20)
    comparison = compare(
        longer, accuracy, [t for t in trials if t.number < 20], protocol={}, looks=(12,)
    )
    bounds = [-_quantile(level / 2) for level in (levels[0], levels[1], levels[-1], levels[-1])]
    assert comparison.looks == (12,)
    assert comparison.false_verdict_chance == pytest.approx(
        crossing_chance([12, 18, 20, 24], bounds)
    )
    assert comparison.false_verdict_chance > ALPHA
    assert not [warning for warning in comparison.warnings if "ended early" in warning]
    assert level_at(longer, 20) == levels[-1]
    assert comparison.sentence.endswith(
        "; the study was extended beyond the looks that it declared."
    )
    whole = compare(declared.at_seeds(30), accuracy, trials, protocol={}, looks=(24,))
    assert (whole.looks, whole.is_final) == (PLAN, False)
    assert not whole.sentence.count("undecided at the declared looks")


def _ends(gains: np.ndarray, spec: StudySpec, metric: Metric, make_trials: Make) -> tuple[str, int]:
    """Return verdict and seeds of the first look that decides; where the test bears nothing out,
    the interval need not be computed.
    """
    for n in spec.confirm.plan:
        here, some = spec.at_seeds(n), gains[:n].tolist()
        p = signed_rank_p(some)
        if p <= level_at(spec, n):
            _, trials = make_trials({"baseline": [0.0] * n, "noisy": some})
            verdict = judge(
                here, metric, seed_rows(here, metric, trials), "noisy", p=p, lacking=None
            ).verdict
            if verdict != "undecided":
                return verdict, n
    return "undecided", spec.confirm.n_seeds


def _simulated(
    rng: np.random.Generator,
    n_studies: int,
    mean: float,
    sd: float,
    spec: StudySpec,
    metric: Metric,
    make_trials: Make,
) -> tuple[float, float]:
    """Return the share of studies that end with the arm better or worse, and the mean number of
    seeds that they took.
    """
    ends = [
        _ends(rng.normal(mean, sd, spec.confirm.n_seeds), spec, metric, make_trials)
        for _ in range(n_studies)
    ]
    return sum(verdict in ("helps", "hurts") for verdict, _ in ends) / n_studies, sum(
        n for _, n in ends
    ) / n_studies


@pytest.mark.parametrize("boundary", ["obrien_fleming", "pocock"])
@pytest.mark.parametrize("n_studies", [600, pytest.param(6_000, marks=pytest.mark.slow)])
def test_over_all_looks_equal_arms_are_called_different_in_at_most_5_percent(
    make_trials: Make, accuracy: Metric, boundary: str, n_studies: int
) -> None:
    """Bound: three standard errors of the simulation. The smallest difference is so small that no
    look ends in `no_difference`.
    """
    spec, _ = make_trials(
        {"baseline": [], "noisy": []},
        confirm=CONFIRM | {"boundary": boundary},
        smallest_difference=1e-9,
    )
    wrong, _ = _simulated(
        np.random.default_rng(5), n_studies, 0.0, 1.0, spec, accuracy, make_trials
    )
    assert wrong <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / n_studies)


@pytest.mark.parametrize(("boundary", "loss"), [("obrien_fleming", 0.03), ("pocock", 0.10)])
@pytest.mark.parametrize("n_studies", [150, pytest.param(1_000, marks=pytest.mark.slow)])
def test_a_true_effect_is_found_with_fewer_seeds_than_without_looks(
    make_trials: Make, accuracy: Metric, boundary: str, loss: float, n_studies: int
) -> None:
    """A gain of 0.8 standard deviations, which one look at 24 seeds finds in 95 %. Pocock spends
    more at the first looks and saves more.

    Bound: three standard errors, and what looks cost in power beside one at the end.
    """
    spec, _ = make_trials(
        {"baseline": [], "noisy": []},
        confirm=CONFIRM | {"boundary": boundary},
        smallest_difference=1e-9,
    )
    fixed = chances(24, 0.8, 1.0, smallest_difference=1e-9, level=0.95)["helps"]
    power, mean_seeds = _simulated(
        np.random.default_rng(6), n_studies, 0.8, 1.0, spec, accuracy, make_trials
    )
    assert fixed - loss - 3 * math.sqrt(fixed * (1 - fixed) / n_studies) <= power <= 1
    assert mean_seeds <= 0.8 * 24


def _parts(
    made: tuple[StudySpec, Sequence[Trial]], metric: Metric
) -> tuple[StudySpec, Metric, Sequence[Trial]]:
    return made[0], metric, made[1]


def _quantile(level: float) -> float:
    from scipy import stats

    return float(stats.norm.ppf(level))


def test_the_level_of_a_strict_look_is_not_rounded_to_all(
    make_trials: Make, accuracy: Metric
) -> None:
    """No interval is one of 100 %, and it holds its mean on both sides of a run that was lost."""
    values = {
        "baseline": [0.5 + 0.001 * (i % 7) for i in range(40)],
        "noisy": [0.6 + 0.001 * (i % 5) for i in range(40)],
    }
    spec, trials = make_trials(values, confirm={"n_seeds": 400, "looks": [40]})
    comparison = compare(spec, accuracy, trials, protocol={})
    assert comparison.verdict == "helps"
    assert "(99.999999943 % interval" in comparison.sentence
    assert "100 %" not in comparison.sentence
