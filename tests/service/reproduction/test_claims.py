"""What the paper claims of an arm, held against what a study found."""

from collections.abc import Callable, Sequence

import pytest

from gradnoise_service.compare import compare
from gradnoise_service.compare.intervals import mean_interval
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Trial
from gradnoise_service.presets.table import Figures
from gradnoise_service.report.claims import Claim, Ran, claims

MakeTrials = Callable[..., tuple[StudySpec, list[Trial]]]
BASE = [0.50, 0.52, 0.48, 0.51, 0.49, 0.53, 0.47, 0.50]
FOUND = {"helps": 0.2, "no_difference": 0.0, "hurts": -0.2}
PAPER = {"ahead of": 0.1, "level with": 0.009, "behind": -0.1}


@pytest.fixture
def claimed(make_trials: MakeTrials, accuracy: Metric, loss: Metric) -> Callable[..., list[Claim]]:
    """A function that returns the claims about a study with these confirm values, by arm, whose
    smallest difference is 0.01.
    """

    def of(
        values: dict[str, Sequence[float | str]],
        figures: Sequence[Figures],
        *,
        minimize: bool = False,
    ) -> list[Claim]:
        confirm = {"n_seeds": max(map(len, values.values())), "thresholds": [0.5]}
        spec, trials = make_trials(values, smallest_difference=0.01, confirm=confirm)
        comparison = compare(spec, loss if minimize else accuracy, trials, protocol={})
        return claims(figures, Ran(scale="full", spec=spec, comparison=comparison))

    return of


def shifted(by: float) -> dict[str, Sequence[float | str]]:
    return {
        "baseline": [*BASE],
        "noisy": [value + by + 0.001 * (-1) ** i for i, value in enumerate(BASE)],
    }


def told(gain: float, statistic: str = "mean", **fields: float) -> Figures:
    return Figures.model_validate(
        {"statistic": statistic, "values": {"baseline": 0.5, "noisy": 0.5 + gain}, **fields}
    )


@pytest.mark.parametrize("minimize", [False, True])
@pytest.mark.parametrize("verdict", FOUND)
@pytest.mark.parametrize("place", PAPER)
def test_a_claim_stood_where_the_study_found_what_the_paper_has(
    claimed: Callable[..., list[Claim]], place: str, verdict: str, minimize: bool
) -> None:
    """Ahead and helps, level and no difference, behind and hurts; every other pair did not stand,
    in either direction of the metric.
    """
    sign = -1 if minimize else 1
    (claim,) = claimed(
        shifted(sign * FOUND[verdict]), [told(sign * PAPER[place])], minimize=minimize
    )
    assert (claim.place, claim.found.verdict) == (place, verdict)
    agrees = (place, verdict) in {
        ("ahead of", "helps"),
        ("level with", "no_difference"),
        ("behind", "hurts"),
    }
    assert claim.standing == ("stood" if agrees else "did not stand")
    assert claim.paper_gain == pytest.approx(PAPER[place])
    assert claim.found.gain == pytest.approx(FOUND[verdict], abs=1e-9)


@pytest.mark.parametrize("place", PAPER)
def test_what_the_study_leaves_open_is_undecided(
    claimed: Callable[..., list[Claim]], place: str
) -> None:
    """Differences that hold both 0 and much more."""
    values = {"baseline": BASE, "noisy": [value + 0.3 * (-1) ** i for i, value in enumerate(BASE)]}
    (claim,) = claimed(values, [told(PAPER[place])])
    assert (claim.found.verdict, claim.standing) == ("undecided", "undecided")


def test_an_arm_that_the_paper_does_not_have_has_no_claim(
    claimed: Callable[..., list[Claim]],
) -> None:
    """What was found of it stands there all the same."""
    values = {**shifted(0.2), "dropout": [*BASE]}
    noisy, dropout = claimed(values, [told(0.1)])
    assert (noisy.standing, dropout.standing, dropout.figures, dropout.paper_gain) == (
        "stood",
        "not in the paper",
        None,
        None,
    )
    assert dropout.found.verdict == "no_difference"


def test_an_arm_is_held_against_the_baseline_wherever_the_paper_has_it(
    claimed: Callable[..., list[Claim]],
) -> None:
    """In figures of the same kind alone: of another split, or the best in place of the mean, there
    is no baseline.
    """
    values = {**shifted(0.2), "dropout": [*BASE]}
    apart = {"statistic": "mean", "values": {"dropout": 0.2}}
    _, dropout = claimed(values, [told(0.1), Figures.model_validate(apart)])
    assert (dropout.place, dropout.paper_gain, dropout.standing) == (
        "behind",
        pytest.approx(-0.3),
        "did not stand",
    )
    for other in ({"split": "validation"}, {"statistic": "best"}):
        assert (
            claimed(values, [told(0.1), Figures.model_validate(apart | other)])[1].standing
            == "not in the paper"
        )


def test_a_claim_rests_on_the_mean_then_on_a_share_then_on_the_best_run(
    claimed: Callable[..., list[Claim]],
) -> None:
    """Whatever the order in which the preset has them."""
    best, share, mean = told(-0.3, "best"), told(0.2, "reached", threshold=0.5), told(0.1)
    for figures, basis in (([best, share, mean], mean), ([best, share], share), ([best], best)):
        (claim,) = claimed(shifted(0.2), figures)
        assert claim.figures == basis


def test_a_share_is_judged_by_the_paired_difference_of_the_runs_that_reached_it(
    claimed: Callable[..., list[Claim]],
) -> None:
    """All of 8 runs against none; of a metric to be minimized, at or below the threshold."""
    share = told(0.1, "reached", threshold=0.5)
    for minimize, reached, missed in ((False, 0.6, 0.4), (True, 0.4, 0.6)):
        (claim,) = claimed(
            {"baseline": [missed] * 8, "noisy": [reached] * 8}, [share], minimize=minimize
        )
        assert (claim.found.gain, claim.found.n, claim.found.verdict, claim.standing) == (
            1.0,
            8,
            "helps",
            "stood",
        )
        (claim,) = claimed(
            {"baseline": [reached] * 8, "noisy": [missed] * 8}, [share], minimize=minimize
        )
        assert (claim.found.gain, claim.found.verdict, claim.standing) == (
            -1.0,
            "hurts",
            "did not stand",
        )


def test_a_share_that_chance_may_explain_is_undecided(claimed: Callable[..., list[Claim]]) -> None:
    """5 of 8 against none has p = 2 / 2^5, above 5 %; a lost run never reached the threshold. The
    interval is the mean's.
    """
    noisy = [0.6] * 5 + [0.4, 0.4, "diverged"]
    (claim,) = claimed(
        {"baseline": [0.4] * 8, "noisy": noisy}, [told(0.1, "reached", threshold=0.5)]
    )
    assert (claim.found.gain, claim.standing) == (5 / 8, "undecided")
    assert claim.found.interval == mean_interval([1.0] * 5 + [0.0] * 3, level=0.95, seed=1)
