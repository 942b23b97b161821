"""The paper's claims about arms, compared with the results of a study."""

from collections.abc import Callable, Sequence

import pytest

from gradnoise_service.compare.assembly import compare
from gradnoise_service.compare.intervals import mean_interval
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Trial
from gradnoise_service.presets import PaperFigures
from gradnoise_service.reproduction.claims import Claim, CompleteStudy, claims

MakeTrials = Callable[..., tuple[StudySpec, list[Trial]]]
BASE = [0.50, 0.52, 0.48, 0.51, 0.49, 0.53, 0.47, 0.50]
FOUND = {"helps": 0.2, "no_difference": 0.0, "hurts": -0.2}
PAPER = {"ahead of": 0.1, "level with": 0.009, "behind": -0.1}


@pytest.fixture
def claimed(make_trials: MakeTrials, accuracy: Metric, loss: Metric) -> Callable[..., list[Claim]]:
    """A function that returns the claims about a study with the given confirm values by arm.

    Its smallest difference that matters is 0.01.
    """

    def of(
        values: dict[str, Sequence[float | str]],
        figures: Sequence[PaperFigures],
        *,
        minimize: bool = False,
    ) -> list[Claim]:
        confirm = {"n_seeds": max(map(len, values.values())), "thresholds": [0.5]}
        spec, trials = make_trials(values, smallest_difference=0.01, confirm=confirm)
        comparison = compare(spec, loss if minimize else accuracy, trials, protocol={})
        return claims(figures, CompleteStudy(scale="full", spec=spec, comparison=comparison))

    return of


def shifted(by: float) -> dict[str, Sequence[float | str]]:
    return {
        "baseline": [*BASE],
        "noisy": [value + by + 0.001 * (-1) ** i for i, value in enumerate(BASE)],
    }


def paper(gain: float, statistic: str = "mean", **fields: float) -> PaperFigures:
    return PaperFigures.model_validate(
        {"statistic": statistic, "values": {"baseline": 0.5, "noisy": 0.5 + gain}, **fields}
    )


@pytest.mark.parametrize("minimize", [False, True])
@pytest.mark.parametrize("verdict", FOUND)
@pytest.mark.parametrize("rank", PAPER)
def test_claim_stands_if_the_verdict_agrees_with_the_paper(
    claimed: Callable[..., list[Claim]], rank: str, verdict: str, minimize: bool
) -> None:
    """This holds in both directions of the metric."""
    sign = -1 if minimize else 1
    (claim,) = claimed(
        shifted(sign * FOUND[verdict]), [paper(sign * PAPER[rank])], minimize=minimize
    )
    assert (claim.rank, claim.result.verdict) == (rank, verdict)
    agrees = (rank, verdict) in {
        ("ahead of", "helps"),
        ("level with", "no_difference"),
        ("behind", "hurts"),
    }
    assert claim.standing == ("reproduced" if agrees else "not reproduced")
    assert claim.paper_gain == pytest.approx(PAPER[rank])
    assert claim.result.gain == pytest.approx(FOUND[verdict], abs=1e-9)


@pytest.mark.parametrize("rank", PAPER)
def test_claim_is_undecided_if_the_verdict_is(
    claimed: Callable[..., list[Claim]], rank: str
) -> None:
    """The interval of the difference contains 0 and large gains."""
    values = {"baseline": BASE, "noisy": [value + 0.3 * (-1) ** i for i, value in enumerate(BASE)]}
    (claim,) = claimed(values, [paper(PAPER[rank])])
    assert (claim.result.verdict, claim.standing) == ("undecided", "undecided")


def test_arm_without_figures_in_the_paper_has_no_claim(
    claimed: Callable[..., list[Claim]],
) -> None:
    """Its result is reported all the same."""
    values = {**shifted(0.2), "dropout": [*BASE]}
    noisy, dropout = claimed(values, [paper(0.1)])
    assert (noisy.standing, dropout.standing, dropout.figures, dropout.paper_gain) == (
        "reproduced",
        "not in the paper",
        None,
        None,
    )
    assert dropout.result.verdict == "no_difference"


def test_arm_is_compared_with_the_baseline_of_figures_of_the_same_kind(
    claimed: Callable[..., list[Claim]],
) -> None:
    """Figures of another split or another statistic have no baseline."""
    values = {**shifted(0.2), "dropout": [*BASE]}
    apart = {"statistic": "mean", "values": {"dropout": 0.2}}
    _, dropout = claimed(values, [paper(0.1), PaperFigures.model_validate(apart)])
    assert (dropout.rank, dropout.paper_gain, dropout.standing) == (
        "behind",
        pytest.approx(-0.3),
        "not reproduced",
    )
    for other in ({"split": "validation"}, {"statistic": "best"}):
        assert (
            claimed(values, [paper(0.1), PaperFigures.model_validate(apart | other)])[1].standing
            == "not in the paper"
        )


def test_claim_prefers_the_mean_then_a_share_then_the_best_run(
    claimed: Callable[..., list[Claim]],
) -> None:
    """The order of the figures in the preset does not matter."""
    best, share, mean = paper(-0.3, "best"), paper(0.2, "reached", threshold=0.5), paper(0.1)
    for figures, basis in (([best, share, mean], mean), ([best, share], share), ([best], best)):
        (claim,) = claimed(shifted(0.2), figures)
        assert claim.figures == basis


def test_share_is_compared_by_the_paired_difference(
    claimed: Callable[..., list[Claim]],
) -> None:
    """All of 8 runs reach the threshold in one arm, none in the other."""
    share = paper(0.1, "reached", threshold=0.5)
    for minimize, reached, missed in ((False, 0.6, 0.4), (True, 0.4, 0.6)):
        (claim,) = claimed(
            {"baseline": [missed] * 8, "noisy": [reached] * 8}, [share], minimize=minimize
        )
        assert (claim.result.gain, claim.result.n, claim.result.verdict, claim.standing) == (
            1.0,
            8,
            "helps",
            "reproduced",
        )
        (claim,) = claimed(
            {"baseline": [reached] * 8, "noisy": [missed] * 8}, [share], minimize=minimize
        )
        assert (claim.result.gain, claim.result.verdict, claim.standing) == (
            -1.0,
            "hurts",
            "not reproduced",
        )


def test_share_that_is_not_significant_is_undecided(claimed: Callable[..., list[Claim]]) -> None:
    """5 of 8 against none has p = 2 / 2^5, above 5 %; a lost run did not reach the threshold."""
    noisy = [0.6] * 5 + [0.4, 0.4, "diverged"]
    (claim,) = claimed(
        {"baseline": [0.4] * 8, "noisy": noisy}, [paper(0.1, "reached", threshold=0.5)]
    )
    assert (claim.result.gain, claim.standing) == (5 / 8, "undecided")
    assert claim.result.interval == mean_interval([1.0] * 5 + [0.0] * 3, level=0.95, seed=1)
