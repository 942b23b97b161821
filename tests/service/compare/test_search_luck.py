"""The luck of a single search is estimated from a response surface of its own trials."""

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from scipy.stats import t as student  # type: ignore[import-untyped]

from gradnoise_service.compare.assembly import compare
from gradnoise_service.compare.facts.base import Interval
from gradnoise_service.compare.facts.comparison import Difference
from gradnoise_service.compare.facts.luck import RepeatedSearch, UnknownLuck
from gradnoise_service.compare.response_surface import Surfaces
from gradnoise_service.compare.search_luck import DEGREES, lucks, repeated, with_luck
from gradnoise_service.compare.tables import tabulate
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import Metric, Trial
from statistics_page import documented

MakeDesign = Callable[..., Design]
Surface = Callable[[np.ndarray, float], np.ndarray]
N_STUDIES = 100
N_TRIALS = 30
N_SEEDS = 12


def quadratic(x: np.ndarray, c: float) -> np.ndarray:
    return -c * (x**2).sum(axis=1)


def ridge(x: np.ndarray, c: float) -> np.ndarray:
    """Steep along the diagonal, flat across it."""
    along = x.sum(axis=1) ** 2 / x.shape[1]
    return -c * (2 * along + 0.1 * ((x**2).sum(axis=1) - along))


def cliff(x: np.ndarray, c: float) -> np.ndarray:
    """Training diverges beyond 0.4 in the first parameter."""
    return np.where(x[:, 0] > 0.4, math.nan, quadratic(x, c))


SURFACES: Mapping[str, Surface] = {"quadratic": quadratic, "ridge": ridge, "cliff": cliff}


def tuned(make_design: MakeDesign, n_parameters: int, **search: object) -> Design:
    """Return a study of two equal arms over a cube of -1 to 1, in decades."""
    arms = [{"name": name, "technique": "none"} for name in ("baseline", "again")]
    return make_design(
        arms=arms,
        space={f"x{i}": {"low": -1.0, "high": 1.0} for i in range(n_parameters)},
        search={"n_trials": N_TRIALS, "epochs": 3, "sampler": "random"} | search,
        confirm={"n_seeds": N_SEEDS},
    )


def trials_of(
    rng: np.random.Generator,
    design: Design,
    arm: str,
    surface: Surface,
    c: float,
    seed_sd: float,
    make_trial: Callable[..., Trial],
) -> tuple[list[Trial], list[float]]:
    """Return an arm's trials of a whole study, and the values of its confirm runs."""
    names = list(design.space(arm))
    n = design.n_trials("search", arm)
    x = rng.uniform(-1, 1, (n, len(names)))
    true = surface(x, c)
    values = true + rng.normal(0, seed_sd, n)
    params = [dict(zip(names, map(float, row), strict=True)) for row in x]
    best = np.argsort(-np.nan_to_num(values, nan=-math.inf))[: design.n_finalists]
    reruns = true[best][:, None] + rng.normal(0, seed_sd, (len(best), design.n_rerun_seeds))
    chosen = best[np.argmax(reruns.mean(axis=1))] if reruns.size else best[0]
    confirmed = (true[chosen] + rng.normal(0, seed_sd, design.n_pairs)).tolist()
    results = {
        "search": [(params[i], float(values[i])) for i in range(n)],
        "rerun": [
            (params[i], float(value)) for i, row in zip(best, reruns, strict=True) for value in row
        ],
        "confirm": [(params[chosen], value) for value in confirmed],
    }
    return [
        make_trial(
            design, phase, arm, i, "diverged" if math.isnan(value) else value, params=setting
        )
        for phase, of_phase in results.items()
        for i, (setting, value) in enumerate(of_phase)
    ], confirmed


def student_difference(values: list[float], baseline: list[float]) -> Difference:
    """Return a difference with Student's interval, which takes less time than the bootstrap."""
    x = np.array(values) - np.array(baseline)
    half = student.ppf(0.975, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x))
    mean = float(x.mean())
    return Difference(
        arm="again",
        baseline="baseline",
        verdict="undecided",
        n=len(x),
        n_declared=len(x),
        n_lost=0,
        baseline_n_lost=0,
        difference=mean,
        difference_interval=Interval(low=mean - half, high=mean + half, level=0.95, method="bca"),
    )


def coverage(
    name: str,
    n_parameters: int,
    n_studies: int,
    make_design: MakeDesign,
    make_trial: Callable[..., Trial],
    metric: Metric,
) -> tuple[int, int, int]:
    """Return in how many studies the plain and the widened interval cover 0, and are estimated.

    The arms are equal, so the expected difference over searches is 0.
    """
    rng = np.random.default_rng(n_parameters)
    design = tuned(make_design, n_parameters)
    n_plain = n_widened = n_estimated = 0
    for _ in range(n_studies):
        c, seed_sd = rng.uniform(0.05, 0.1), rng.uniform(0.005, 0.01)
        found = {
            arm.name: trials_of(rng, design, arm.name, SURFACES[name], c, seed_sd, make_trial)
            for arm in design.spec.arms
        }
        trials = [trial for of_arm, _ in found.values() for trial in of_arm]
        difference = student_difference(found["again"][1], found["baseline"][1])
        estimated = lucks(design, metric, tabulate(design, metric, trials), trials)
        (judged,) = with_luck([difference], estimated)
        assert judged.difference_interval is not None
        n_plain += judged.difference_interval.low <= 0 <= judged.difference_interval.high
        if judged.search_luck is not None:
            n_estimated += 1
            n_widened += judged.search_luck.interval.low <= 0 <= judged.search_luck.interval.high
    return n_plain, n_widened, n_estimated


def counts(name: str, n_parameters: int) -> tuple[int, ...]:
    """Return the documented counts of studies: plain, widened, estimated."""
    return tuple(round(N_STUDIES * share) for share in documented(name, str(n_parameters)))


@pytest.mark.slow
@pytest.mark.parametrize("name", SURFACES)
def test_the_documented_coverage_over_searches_is_the_simulated_one(
    name: str, make_design: MakeDesign, make_trial: Callable[..., Trial], accuracy: Metric
) -> None:
    """Within one study of 100, as rounding on another machine may move one."""
    for n_parameters in (1, 2, 3, 4):
        measured = coverage(name, n_parameters, N_STUDIES, make_design, make_trial, accuracy)
        assert measured == pytest.approx(counts(name, n_parameters), abs=1)


def test_the_widened_interval_covers_as_often_as_its_level_over_all_documented_surfaces() -> None:
    """At least 95 % less three standard errors of the simulation; the plain one does not."""
    rows = [counts(name, n) for name in SURFACES for n in (1, 2, 3, 4)]
    n_plain, n_widened, n_estimated = (sum(column) for column in zip(*rows, strict=True))
    assert n_widened / n_estimated >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / n_estimated)
    assert n_plain / (N_STUDIES * len(rows)) < 0.75


def test_without_noise_the_chosen_value_is_the_best_of_the_trials() -> None:
    """The largest of n uniform variables has variance n / ((n + 1)^2 (n + 2)).

    Its sample variance over N searches has a relative error of about sqrt((kurtosis - 1) / N),
    with a kurtosis below 9, that of the exponential distribution.
    """
    n_trials, n_searches = 30, 4000
    rng = np.random.default_rng(1)
    line = Surfaces(mean=0.0, centre=np.zeros(1), coefficients=np.ones((1, 1)))
    settings = rng.random((n_searches, n_trials, 1))
    (chosen,) = repeated(rng, line, settings, seed_sd=0.0, n_finalists=3, n_reruns=3)
    assert np.array_equal(chosen, settings.max(axis=(1, 2)))
    variance = n_trials / ((n_trials + 1) ** 2 * (n_trials + 2))
    assert chosen.var() == pytest.approx(variance, rel=5 * math.sqrt(8 / n_searches))


def test_with_noise_alone_the_choice_is_random() -> None:
    """Among settings of equal noise the chosen one is any of them: uniform variance 1 / 12."""
    rng = np.random.default_rng(2)
    line = Surfaces(mean=0.0, centre=np.zeros(1), coefficients=np.ones((1, 1)))
    settings = rng.random((4000, 10, 1))
    (chosen,) = repeated(rng, line, settings, seed_sd=1e6, n_finalists=3, n_reruns=3)
    assert chosen.mean() == pytest.approx(0.5, abs=5 * math.sqrt(1 / 12 / 4000))
    assert chosen.var() == pytest.approx(1 / 12, rel=5 * math.sqrt(0.8 / 4000))


@pytest.fixture
def whole(
    make_design: MakeDesign, make_trial: Callable[..., Trial]
) -> Callable[..., tuple[Design, list[Trial]]]:
    """A function that returns a study of two equal arms on a quadratic of two parameters."""

    def make(design: Design | None = None, seed_sd: float = 0.01) -> tuple[Design, list[Trial]]:
        design = design or tuned(make_design, 2)
        rng = np.random.default_rng(3)
        return design, [
            trial
            for arm in design.spec.arms
            for trial in trials_of(rng, design, arm.name, quadratic, 0.1, seed_sd, make_trial)[0]
        ]

    return make


def test_the_luck_widens_the_interval_and_is_a_finding(
    whole: Callable[..., tuple[Design, list[Trial]]], accuracy: Metric
) -> None:
    design, trials = whole()
    comparison = compare(design, accuracy, trials, protocol={})
    (difference,) = comparison.differences
    luck, interval = difference.search_luck, difference.difference_interval
    assert luck is not None
    assert interval is not None
    assert difference.difference is not None
    expected = student.ppf(0.975, DEGREES) * math.hypot(luck.sd, luck.baseline_sd)
    assert luck.reach == pytest.approx(expected)
    low = math.hypot(difference.difference - interval.low, luck.reach)
    assert luck.interval.low == pytest.approx(difference.difference - low)
    assert luck.interval.level == interval.level
    finding = RepeatedSearch(arm="again", baseline="baseline", sampler="random", luck=luck)
    assert finding in comparison.findings


def test_equal_trials_have_equal_lucks_in_any_order(
    whole: Callable[..., tuple[Design, list[Trial]]], accuracy: Metric
) -> None:
    design, trials = whole()
    forward = compare(design, accuracy, trials, protocol={}).differences[0].search_luck
    backward = compare(design, accuracy, trials[::-1], protocol={}).differences[0].search_luck
    assert forward == backward


def test_a_metric_to_be_minimized_has_the_luck_of_its_negative(
    whole: Callable[..., tuple[Design, list[Trial]]], accuracy: Metric, loss: Metric
) -> None:
    design, trials = whole()
    negative = [dataclasses.replace(t, value=-(t.value or 0.0)) for t in trials]
    luck = compare(design, accuracy, trials, protocol={}).differences[0].search_luck
    mirrored = compare(design, loss, negative, protocol={}).differences[0].search_luck
    assert luck is not None
    assert mirrored is not None
    assert mirrored.sd == pytest.approx(luck.sd)
    assert mirrored.interval.low == pytest.approx(-luck.interval.high)


def unknown(comparison_of: Design, trials: list[Trial], metric: Metric) -> list[UnknownLuck]:
    comparison = compare(comparison_of, metric, trials, protocol={})
    assert comparison.differences[0].search_luck is None
    assert comparison.differences[0].no_verdict is None
    return [finding for finding in comparison.findings if isinstance(finding, UnknownLuck)]


def test_too_few_complete_trials_give_no_estimate(
    whole: Callable[..., tuple[Design, list[Trial]]], accuracy: Metric
) -> None:
    """Two parameters have 5 coefficients, and 5 trials beyond these are needed."""
    design, trials = whole()
    few = [
        dataclasses.replace(trial, diverged=trial.arm == "again" and trial.number not in chosen)
        if trial.phase == "search"
        else trial
        for chosen in [best_numbers(trials, 9)]
        for trial in trials
    ]
    assert unknown(design, few, accuracy) == [UnknownLuck(arm="again", n_complete=9, n_needed=10)]


def best_numbers(trials: list[Trial], n: int) -> set[int]:
    searched = [t for t in trials if (t.arm, t.phase) == ("again", "search")]
    return {t.number for t in sorted(searched, key=lambda t: -(t.value or 0.0))[:n]}


def test_a_better_half_of_equal_values_gives_no_estimate(
    whole: Callable[..., tuple[Design, list[Trial]]], accuracy: Metric
) -> None:
    design, trials = whole()
    tied = [
        dataclasses.replace(t, value=0.5) if (t.arm, t.phase) == ("again", "search") else t
        for t in trials
    ]
    assert unknown(design, tied, accuracy) == [UnknownLuck(arm="again", n_complete=30, n_needed=10)]


def test_without_noise_a_grid_finds_the_same_setting_again(
    make_design: MakeDesign,
    whole: Callable[..., tuple[Design, list[Trial]]],
    accuracy: Metric,
) -> None:
    """All trials of a grid are run again, so only the surface and the seeds vary."""
    arms = [{"name": name, "technique": "none"} for name in ("baseline", "again")]
    design, trials = whole(
        make_design(
            arms=arms,
            space={"lr": {"low": 0.0, "high": 1.0}, "width": {"choices": ["a", "b"]}},
            search={"n_trials": 40, "epochs": 3, "sampler": "grid"},
            confirm={"n_seeds": N_SEEDS},
        ),
        seed_sd=0.0,
    )
    letters = [
        dataclasses.replace(
            t,
            params={"lr": i / 39, "width": "ab"[t.number % 2]},
            value=i / 39,
        )
        if t.phase == "search"
        else t
        for t in trials
        for i in [t.number % 40]
    ]
    found = lucks(design, accuracy, tabulate(design, accuracy, letters), letters)
    assert found["again"] == pytest.approx(0.0, abs=1e-3)
    random = dataclasses.replace(
        design,
        spec=design.spec.model_copy(
            update={"search": design.spec.search.model_copy(update={"sampler": "random"})}
        ),
    )
    drawn = lucks(random, accuracy, tabulate(random, accuracy, letters), letters)
    # the best of 40 uniform variables has a standard deviation of 0.0238
    assert drawn["again"] == pytest.approx(0.0238, rel=0.4)


def test_an_arm_without_searched_parameters_has_no_luck(
    make_design: MakeDesign, make_trial: Callable[..., Trial], accuracy: Metric
) -> None:
    arms = [{"name": name, "technique": "none"} for name in ("baseline", "again")]
    design = make_design(arms=arms, space={"lr": 0.1, "momentum": {"choices": [0.9]}})
    trials = [make_trial(design, "search", arm["name"], 0, 0.5) for arm in arms]
    found = lucks(design, accuracy, tabulate(design, accuracy, trials), trials)
    assert found == {"baseline": 0.0, "again": 0.0}


def test_a_study_without_a_search_has_no_luck(
    make_grid: Callable[..., tuple[Design, list[Trial]]], accuracy: Metric
) -> None:
    design, trials = make_grid({"baseline": [0.1] * 8, "noisy": [0.2] * 8})
    comparison = compare(design, accuracy, trials, protocol={})
    assert comparison.differences[0].search_luck is None
    assert lucks(design, accuracy, tabulate(design, accuracy, trials), trials) == {}
