"""Loss rates are bounded exactly, and those that would end a verdict are found."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from gradnoise_service.compare.assembly import compare
from gradnoise_service.compare.facts.comparison import Difference, LossBound
from gradnoise_service.compare.facts.findings import DivergedLater, WorseThanWorst
from gradnoise_service.compare.losses import rate_bound
from gradnoise_service.compare.tables import seed_rows
from gradnoise_service.compare.verdict import judge
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import Metric, Trial
from statistics_page import documented

Make = Callable[..., tuple[Design, list[Trial]]]
PAIRS = (6, 12, 24)
GOOD = [0.9, 0.8, 0.85, 0.9, 0.95, 0.9, 0.7, 0.88]
BAD = [0.1, 0.2, 0.15, 0.1, 0.05, 0.1, 0.3, 0.12]
RATE = 0.05


@pytest.mark.parametrize(("n_lost", "n"), [(0, 12), (1, 12), (5, 6), (6, 6), (3, 40)])
@pytest.mark.parametrize("level", [0.95, 0.975, 0.9958])
def test_the_bound_is_the_exact_one_of_clopper_and_pearson(
    n_lost: int, n: int, level: float
) -> None:
    bound = rate_bound(n_lost, n, level=level)
    exact = binomtest(n_lost, n, alternative="less").proportion_ci(level, method="exact").high
    assert bound == pytest.approx(exact)
    assert binom.cdf(n_lost, n, bound) == pytest.approx(1 - level if n_lost < n else 1.0)


def test_without_a_lost_run_the_bound_has_its_closed_form() -> None:
    """0 of 12 runs lost allow a loss rate of 22 %."""
    for n in (1, 6, 12, 59):
        assert rate_bound(0, n, level=0.95) == pytest.approx(1 - 0.05 ** (1 / n))
    assert round(rate_bound(0, 12, level=0.95), 2) == 0.22


def difference(
    make_trials: Make, metric: Metric, baseline: list[float | str], noisy: list[float | str]
) -> Difference:
    design, trials = make_trials({"baseline": baseline, "noisy": noisy})
    (found,) = compare(design, metric, trials, protocol={}).differences
    return found


def test_a_gain_is_gone_at_the_loss_rate_that_moves_the_mean_to_the_baseline_s(
    make_trials: Make, accuracy: Metric
) -> None:
    """A lost run costs 0.8, so the gain of 0.2 is gone if a quarter of the runs is lost."""
    for n, matters in ((6, True), (12, False)):
        found = difference(make_trials, accuracy, [0.6] * n, [0.8, 0.82, 0.78] * (n // 3))
        losses = found.losses
        assert isinstance(losses, LossBound)
        assert found.verdict == "helps"
        assert (losses.limit, losses.baseline_limit) == (pytest.approx(0.25), None)
        assert (losses.arm_matters, losses.baseline_matters) == (matters, False)
        mean = (1 - 0.25) * 0.8 + 0.25 * accuracy.worst
        assert mean == pytest.approx(0.6)


def test_an_arm_that_hurts_does_so_until_the_baseline_loses_runs(
    make_trials: Make, loss: Metric
) -> None:
    """For a loss whose lost runs count as 100."""
    found = difference(make_trials, loss, [10.0, 11.0, 9.0] * 2, [19.0, 20.0, 18.0] * 2)
    assert found.losses is not None
    assert (found.verdict, found.losses.limit) == ("hurts", None)
    assert found.losses.baseline_limit == pytest.approx(9 / 90)
    assert found.losses.baseline_matters


def test_no_difference_ends_where_losses_move_a_mean_by_the_smallest_difference(
    make_trials: Make, accuracy: Metric
) -> None:
    found = difference(make_trials, accuracy, [0.5] * 6, [0.51, 0.5] * 3)
    assert found.losses is not None
    assert found.verdict == "no_difference"
    assert found.losses.limit == pytest.approx((0.005 + 0.02) / 0.505)
    assert found.losses.baseline_limit == pytest.approx((-0.005 + 0.02) / 0.5)
    assert found.losses.arm_matters
    assert found.losses.baseline_matters


def test_lost_runs_raise_the_bound_and_their_mean_excludes_them(
    make_trials: Make, accuracy: Metric
) -> None:
    found = difference(make_trials, accuracy, [0.1] * 12, [0.9] * 11 + ["failed"])
    assert found.losses is not None
    assert found.losses.bound == pytest.approx(rate_bound(1, 12, level=0.95))
    assert found.losses.limit == pytest.approx((0.9 - 0.1) / 0.9)
    assert not found.losses.arm_matters


@pytest.mark.parametrize(
    ("baseline", "noisy"),
    [
        ([0.0] * 6, [0.0, 0.001] * 3),  # lost runs cost less than the smallest difference
        ([0.5, 0.4, 0.6] * 2, [0.9, 0.1] * 3),  # undecided
    ],
)
def test_no_rate_ends_a_verdict_that_losses_cannot_change(
    make_trials: Make, accuracy: Metric, baseline: list[float | str], noisy: list[float | str]
) -> None:
    found = difference(make_trials, accuracy, baseline, noisy)
    assert found.losses is not None
    assert (found.losses.limit, found.losses.baseline_limit) == (None, None)


def test_the_level_of_the_bound_is_that_of_the_comparison(
    make_trials: Make, accuracy: Metric
) -> None:
    design, trials = make_trials({"baseline": [0.1] * 8, "noisy": [0.5] * 8, "constant": [0.5] * 8})
    for found in compare(design, accuracy, trials, protocol={}).differences:
        assert found.losses is not None
        assert found.losses.level == pytest.approx(0.975)
        assert found.losses.bound == pytest.approx(1 - 0.025 ** (1 / 8))


def test_pairs_have_their_correlation(make_trials: Make, accuracy: Metric) -> None:
    base = [0.1, 0.2, 0.3, 0.5, 0.4, 0.7]
    noisy = [0.3, 0.1, 0.5, 0.6, 0.6, 0.8]
    found = difference(make_trials, accuracy, base, noisy)
    assert found.correlation == pytest.approx(np.corrcoef(base, noisy)[0, 1])
    assert difference(make_trials, accuracy, base, [0.1 + 0.2] * 6).correlation is None
    assert difference(make_trials, accuracy, base, [1e99 * x for x in base]).correlation == (
        pytest.approx(1.0)
    )


def test_the_documented_bounds_are_those_without_a_lost_run() -> None:
    assert documented("bound without a lost run") == pytest.approx(
        [rate_bound(0, n, level=0.95) for n in PAIRS], abs=0.005
    )


@pytest.mark.parametrize("n_studies", [40, pytest.param(400, marks=pytest.mark.slow)])
def test_an_arm_that_rarely_loses_a_run_makes_no_difference_only_if_runs_are_not_lost(
    make_trials: Make, accuracy: Metric, n_studies: int
) -> None:
    """A loss rate of 5 % costs 0.045, more than twice the smallest difference.

    The verdict is `no_difference` if no run is lost, with probability 0.95^n, and then always has
    the condition.
    """
    rng = np.random.default_rng(4)
    for n, expected in zip(PAIRS, documented("`no_difference`"), strict=True):
        assert expected == pytest.approx((1 - RATE) ** n, abs=0.005)
        found = []
        for _ in range(n_studies):
            base, noisy = rng.normal(0.9, 0.005, (2, n)).tolist()
            lost = rng.random(n) < RATE
            design, trials = make_trials(
                {
                    "baseline": base,
                    "noisy": [
                        "diverged" if is_lost else x for is_lost, x in zip(lost, noisy, strict=True)
                    ],
                }
            )
            rows = seed_rows(design, accuracy, trials)
            found.append(judge(design, accuracy, rows, "noisy", p=1.0))
        equivalent = [d for d in found if d.verdict == "no_difference"]
        error = (expected * (1 - expected) / n_studies) ** 0.5
        assert len(equivalent) / n_studies == pytest.approx(expected, abs=3 * error)
        assert all(d.losses is not None and d.losses.arm_matters for d in equivalent)


def test_an_arm_that_diverges_hurts_even_if_the_declared_worst_value_is_too_good(
    make_trials: Make, loss: Metric
) -> None:
    """Every loss of the baseline is worse than 100, the declared worst value."""
    baseline = [5_000.0 + i for i in range(8)]
    design, trials = make_trials({"baseline": baseline, "noisy": ["diverged"] * 7 + [4_999.0]})
    comparison = compare(design, loss, trials, protocol={})
    assert (comparison.worst, comparison.declared_worst) == (5_007.02, 100.0)
    (difference,) = comparison.differences
    assert (difference.n_worse, difference.n_better) == (7, 1)
    assert WorseThanWorst(measured=5_007.0, declared=100.0) in comparison.findings
    design, trials = make_trials({"baseline": baseline, "noisy": ["diverged"] * 8})
    assert compare(design, loss, trials, protocol={}).verdict == "hurts"


def test_a_run_that_diverged_after_its_best_epoch_keeps_the_value_of_that_epoch(
    make_trials: Make, accuracy: Metric
) -> None:
    design, trials = make_trials({"baseline": BAD, "noisy": GOOD}, judge="best_validation_epoch")
    late = [
        replace(t, diverged=True, epochs=2) if (t.phase, t.arm) == ("confirm", "noisy") else t
        for t in trials
    ]
    comparison, expected = (compare(design, accuracy, t, protocol={}) for t in (late, trials))
    assert comparison.differences == expected.differences
    assert DivergedLater(arm="noisy", phase="confirm", n=8, n_declared=8) in comparison.findings
    tally = comparison.arms[1].confirm
    assert (tally.n_complete, tally.n_diverged, tally.n_diverged_later) == (8, 0, 8)
    assert comparison.diagnostics.divergences[0].n_diverged == 8


def test_a_run_without_a_finite_best_epoch_diverged_once(make_trials: Make, loss: Metric) -> None:
    """Its best value is too large for arithmetic, so that it is lost and not `diverged_later`."""
    design, trials = make_trials(
        {"baseline": [0.5] * 6, "noisy": [1e120] * 6}, judge="best_validation_epoch"
    )
    late = [replace(t, diverged=True, epochs=2) if t.value == 1e120 else t for t in trials]
    comparison = compare(design, loss, late, protocol={})
    tally = comparison.arms[1].confirm
    assert (tally.n_diverged, tally.n_diverged_later, tally.n_ever_diverged) == (6, 0, 6)
    assert (comparison.verdict, comparison.differences[0].n_lost) == ("hurts", 6)
