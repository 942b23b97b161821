"""The promises hold in simulated studies, and docs/statistics.md says how well: its tables are
measured here.

`pytest -m slow tests/service/compare` measures all of them (some minutes), the default suite one
column with fewer studies.
"""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from gradnoise_service.compare.intervals import (
    interquartile_interval,
    mean_interval,
    share_interval,
    signed_rank_p,
)
from gradnoise_service.compare.tables import seed_rows
from gradnoise_service.compare.verdict import ALPHA, judge
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Trial

Make = Callable[..., tuple[StudySpec, list[Trial]]]
Draw = Callable[[np.random.Generator, int, bool], np.ndarray]
DOCUMENT = (Path(__file__).resolve().parents[3] / "docs/statistics.md").read_text(encoding="utf-8")
PAIRS = (6, 12, 20, 40)
N_STUDIES = 1_000
N_EQUAL_STUDIES = 4_000


def learned(rng: np.random.Generator, n: int, rate: float) -> np.ndarray:
    return np.where(rng.random(n) < rate, 0.75, 0.1) + rng.normal(0, 0.02, n)


# what a run of an arm gets: of the baseline, or of an arm that is better
ARMS: Mapping[str, Draw] = {
    "normal": lambda rng, n, better: rng.normal(0.3 * better, 1, n),
    "skewed": lambda rng, n, better: rng.exponential(size=n),
    "learns or not": lambda rng, n, better: learned(rng, n, 0.7 if better else 0.5),
    "tied": lambda rng, n, better: np.round(rng.normal(0.3 * better, 0.7, n)),
}


def differences(data: str, rng: np.random.Generator, n: int) -> np.ndarray:
    noisy = ARMS[data](rng, n, True)
    # of two arms alike the differences would be symmetric: here the baseline always gets the same
    if data == "skewed":
        return noisy - 0.3
    return noisy - ARMS[data](rng, n, False)


def coverage(data: str, n: int, n_studies: int) -> dict[str, float]:
    """Return how often each 95 % interval of n pairs holds what it is an interval of."""
    many = np.sort(differences(data, np.random.default_rng(1), 1_000_000))
    truth = {
        "mean": many.mean(),
        "interquartile mean": many[250_000:750_000].mean(),
        "P(better)": np.mean(many > 0) + np.mean(many == 0) / 2,
    }
    rng = np.random.default_rng(n)
    covered = dict.fromkeys(truth, 0)
    for seed in range(n_studies):
        x = differences(data, rng, n)
        intervals = {
            "mean": mean_interval(x.tolist(), level=0.95, seed=seed),
            "interquartile mean": interquartile_interval(x.tolist(), level=0.95, seed=seed),
            "P(better)": share_interval(float(np.mean(x > 0) + np.mean(x == 0) / 2), n, level=0.95),
        }
        for name, interval in intervals.items():
            covered[name] += interval.low <= truth[name] <= interval.high
    return {name: hits / n_studies for name, hits in covered.items()}


def without_gain(data: str, rng: np.random.Generator, n: int) -> np.ndarray:
    """Return differences of equal arms, or, beyond what the test promises, of arms with nothing
    equal but their means.
    """
    if data == "equal means alone":
        return rng.exponential(size=n) - 1
    baseline, noisy = ARMS[data](rng, n, False), ARMS[data](rng, n, False)
    return noisy - baseline


def false_verdicts(data: str, n: int, n_studies: int, make_trials: Make, metric: Metric) -> float:
    """Return how often an arm that gains nothing is called better or worse."""
    rng = np.random.default_rng(n)
    wrong = 0
    for _ in range(n_studies):
        gains = without_gain(data, rng, n).tolist()
        p = signed_rank_p(gains)
        if p <= ALPHA:  # beyond, the verdict is neither
            spec, trials = make_trials({"baseline": [0.0] * n, "noisy": gains})
            wrong += judge(
                spec, metric, seed_rows(spec, metric, trials), "noisy", p=p, lacking=None
            ).verdict in ("helps", "hurts")
    return wrong / n_studies


def documented(*cells: str) -> list[float]:
    """Return the percentages of the documents' table row that begins with these cells."""
    (row,) = re.findall(rf"^\| {re.escape(' | '.join(cells))} \|(.*)\|$", DOCUMENT, re.MULTILINE)
    return [float(cell) / 100 for cell in row.split("|")]


def three_errors(share: float, *counts: int) -> float:
    """Return three standard errors of the difference of simulated shares."""
    return 3 * math.sqrt(share * (1 - share) * sum(1 / n for n in counts))


@pytest.mark.parametrize("data", ARMS)
def test_intervals_cover_as_often_as_documented(data: str) -> None:
    for name, share in coverage(data, 12, 150).items():
        said = documented(name, data)[PAIRS.index(12)]
        assert share == pytest.approx(said, abs=three_errors(min(said, 0.99), 150, N_STUDIES)), name


@pytest.mark.slow
@pytest.mark.parametrize("data", ARMS)
def test_the_documents_say_how_often_intervals_cover(data: str) -> None:
    """To the studies themselves, as they are seeded; 0.3 % for what rounds otherwise on another
    machine.
    """
    measured = [coverage(data, n, N_STUDIES) for n in PAIRS]
    for name in measured[0]:
        assert [one[name] for one in measured] == pytest.approx(documented(name, data), abs=0.003)


def test_normal_differences_are_covered_as_promised() -> None:
    """95 % less three errors of the simulation, as documented, for the mean at any number of pairs."""
    assert min(documented("mean", "normal")) >= 0.95 - three_errors(0.95, N_STUDIES)


@pytest.mark.parametrize("data", ARMS)
@pytest.mark.parametrize("n", [8, 15])
def test_equal_arms_are_called_different_in_at_most_5_percent(
    data: str, n: int, make_trials: Make, accuracy: Metric
) -> None:
    assert false_verdicts(data, n, 600, make_trials, accuracy) <= ALPHA + three_errors(ALPHA, 600)


@pytest.mark.slow
@pytest.mark.parametrize("data", [*ARMS, "equal means alone"])
def test_the_documents_say_how_often_equal_arms_are_called_different(
    data: str, make_trials: Make, accuracy: Metric
) -> None:
    measured = [false_verdicts(data, n, N_EQUAL_STUDIES, make_trials, accuracy) for n in PAIRS]
    assert measured == pytest.approx(documented("equal arms", data), abs=0.003)
    assert data not in ARMS or max(measured) <= ALPHA + three_errors(ALPHA, N_EQUAL_STUDIES)


def test_every_test_that_the_document_names_exists() -> None:
    tests = "".join(
        path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py")
    )
    named = set(re.findall(r"`(test_\w+)`", DOCUMENT))
    assert len(named) > 10
    assert named <= set(re.findall(r"def (test_\w+)", tests))
