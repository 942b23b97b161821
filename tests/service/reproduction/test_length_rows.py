"""Results by training length are stated in updates, in a table and in a picture."""

from collections.abc import Callable

from gradnoise_service.compare.facts.base import Interval
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Verdict
from gradnoise_service.presets import PaperFigures, PaperTable
from gradnoise_service.reproduction.claims import ArmResult, Claim
from gradnoise_service.reproduction.length_rows import length_sentences
from gradnoise_service.reproduction.page import page
from gradnoise_service.reproduction.results import RowResult, TableResult
from gradnoise_service.reproduction.training_length import AtLength

FIGURES = PaperFigures(statistic="mean", values={"baseline": 0.1, "noisy": 0.5})
LENGTHS = (10, 20, 30)


def test_sentence_names_the_length_from_which_ours_agrees(
    make_spec: Callable[..., StudySpec],
) -> None:
    """The arm is ahead in the paper; here the verdict changes, or is the same at every length."""
    expected: dict[str, tuple[Verdict, ...]] = {
        "; here not at 5,000 updates, from about 10,000 to 15,000.": (
            "undecided",
            "helps",
            "helps",
        ),
        ", and here from 5,000 to 15,000 updates.": ("helps", "helps", "helps"),
        "; not here up to 15,000 updates (no difference there).": (
            "helps",
            "helps",
            "no_difference",
        ),
    }
    for end, verdicts in expected.items():
        (sentence,) = length_sentences(table(make_spec(), verdicts))
        assert sentence == f"- **Row A, noisy**: ahead of the baseline in the paper{end}"


def test_page_has_a_table_and_a_picture_of_the_lengths(
    make_spec: Callable[..., StudySpec],
) -> None:
    """A cell has difference, interval and verdict; the picture describes full and last length."""
    result = table(make_spec(), ("undecided", "helps", "helps"))
    text = page([result], pictures="pictures")
    assert "| row | arm | pairs | 5,000 updates | 10,000 updates | 15,000 updates |" in text
    cell = "+0.2<br>(+0.1 to +0.3)<br>{}"
    cells = " | ".join(cell.format(verdict) for verdict in ("undecided", "helps", "helps"))
    assert f"| Row A | noisy | 12 | {cells} |" in text
    assert "gradnoise submit --preset paper-table-9 --scale long --row a --watch" in text
    assert "](pictures/paper-table-9-lengths.svg)" in text
    assert result.length_picture is not None
    assert "Row A: after 5,000 updates baseline 0.1, noisy 0.3;" in result.length_picture.decode()


def table(spec: StudySpec, verdicts: tuple[Verdict, ...]) -> TableResult:
    """Return a table whose only row has these verdicts by training length."""
    lengths = tuple(
        AtLength(epochs=epochs, means={"baseline": 0.1, "noisy": 0.3}, claims=[claim(verdict)])
        for epochs, verdict in zip(LENGTHS, verdicts, strict=True)
    )
    paper_table = PaperTable.model_validate(
        {
            "name": "paper-table-9",
            "description": "A table.",
            "study": {},
            "rows": [{"name": "a", "title": "Row A", "paper": [FIGURES]}],
            "updates_per_epoch": 500,
            "scales": {"full": {}, "long": {}},
        }
    )
    row = RowResult(
        row=paper_table.rows[0],
        full=spec.model_copy(
            update={"confirm": spec.confirm.model_copy(update={"epochs": LENGTHS[0]})}
        ),
        study=None,
        state="not run",
        full_seconds=None,
        lengths=lengths,
    )
    return TableResult(table=paper_table, rows=(row,))


def claim(verdict: Verdict) -> Claim:
    interval = Interval(low=0.1, high=0.3, level=0.95, method="bca")
    result = ArmResult(
        n=12, difference=0.2, interval=interval, gain=0.2, gain_interval=interval, verdict=verdict
    )
    return Claim(
        arm="noisy",
        baseline="baseline",
        figures=FIGURES,
        rank="ahead of",
        paper_gain=0.4,
        result=result,
        standing="undecided",
    )
