"""The report of a study without a search has a row for each setting, and no words on tuning."""

import csv
import io
import json
import re
from collections.abc import Callable

import pytest

from gradnoise_service.compare.assembly import compare
from gradnoise_service.compare.facts.comparison import Comparison
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import Metric, Study, Trial
from gradnoise_service.report import csv as csv_report
from gradnoise_service.report import html, latex, markdown
from gradnoise_service.report import json as json_report
from gradnoise_service.report.figures import pictures
from gradnoise_service.report.tables import point_table

GridStudy = tuple[Study, Comparison, list[Trial]]
BASE = [0.10, 0.50, 0.20, 0.55, 0.15, 0.60, 0.12, 0.58]
NOISY = [*(value + 0.2 for value in BASE[:7]), "diverged"]
ROWS = [
    ["0.01", "0.9", "4", "0.1425 ± 0.04349", "0.2", "0", "4", "0.3425 ± 0.04349", "0.4", "0"],
    ["0.1", "0.9", "4", "0.5575 ± 0.04349", "0.6", "4", "4, 1 lost", "0.5625 ± 0.3772", "0.8", "3"],
]
TUNING = (
    "tuned separately",
    "chosen",
    "best so far",
    "search trials",
    "Selection",
    "The search",
    "Search budget",
    "winner",
    "on validation",
)


@pytest.fixture
def grid_study(
    make_grid: Callable[..., tuple[Design, list[Trial]]],
    make_study: Callable[..., Study],
    accuracy: Metric,
) -> GridStudy:
    design, trials = make_grid({"baseline": BASE, "noisy": NOISY}, confirm={"thresholds": [0.5]})
    return make_study(design, accuracy), compare(design, accuracy, trials, protocol={}), trials


def test_the_table_has_a_row_for_each_setting(grid_study: GridStudy) -> None:
    header, rows = point_table(grid_study[1])
    columns = ["runs", "mean ± sd", "best", "at least 0.5"]
    assert header == [
        "lr",
        "momentum",
        *(f"baseline: {name}" for name in columns),
        *(f"noisy: {name}" for name in columns),
    ]
    assert rows == ROWS


def test_the_page_has_the_settings_and_no_search(grid_study: GridStudy) -> None:
    text = html.render(*grid_study[:2])
    for row in ROWS:
        assert "".join(f'<td class="number">{cell}</td>' for cell in row) in text
    assert (
        "Nothing was tuned: every arm ran the same 2 settings on the same seeds, evaluated on test "
        "data." in " ".join(text.split())
    )
    body = text.split("The study as submitted")[0]
    assert not [
        words
        for words in TUNING
        if words in re.sub(r"<style>.*?</style>", "", body, flags=re.DOTALL)
    ]
    assert "<td>lr 0.1, momentum 0.9</td>" in text
    assert "eta 0.3, gamma 0.55" in text


def test_markdown_has_the_settings_and_no_search(grid_study: GridStudy) -> None:
    text = markdown.render(*grid_study[:2])
    for row in ROWS:
        assert f"| {' | '.join(row)} |" in text
    assert "Nothing was tuned: every arm ran the same 2 settings on the same seeds." in text
    assert not [words for words in TUNING if words in text.split("The study as submitted")[0]]


def test_latex_has_a_second_table(grid_study: GridStudy) -> None:
    text = latex.render(*grid_study[:2])
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 3
    for row in ROWS:
        assert " & ".join(row).replace("±", r"$\pm$") + r" \\" in text
    assert text.count("{") == text.count("}")


def test_the_learning_rate_response_is_drawn_from_the_confirm_runs(grid_study: GridStudy) -> None:
    drawn = pictures(grid_study[1])
    assert list(drawn) == ["confirm", "difference", "learning_rate"]
    assert (
        "Test accuracy against learning rate, a mark for each of 16 confirm runs."
        in drawn["learning_rate"]
    )
    assert drawn["learning_rate"] in html.render(*grid_study[:2])


def test_csv_numbers_the_settings_of_the_trials(grid_study: GridStudy) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_report.render(grid_study[0], grid_study[2]))))
    assert {(row["point"], row["lr"], row["momentum"]) for row in rows} == {
        ("1", "0.01", "0.9"),
        ("2", "0.1", "0.9"),
    }
    values = [
        float(row["counts_as"]) for row in rows if (row["arm"], row["point"]) == ("noisy", "2")
    ]
    assert sum(values) / len(values) == pytest.approx(0.5625)


def test_json_has_the_settings(grid_study: GridStudy) -> None:
    values = json.loads(json_report.render(*grid_study[:2]))
    assert [point["params"]["lr"] for point in values["points"]] == [0.01, 0.1]
    assert values["points"][1]["runs"]["noisy"]["n_lost"] == 1
    assert Comparison.model_validate(values) == grid_study[1]


def test_an_interim_report_counts_the_runs_alone(
    make_grid: Callable[..., tuple[Design, list[Trial]]],
    make_study: Callable[..., Study],
    accuracy: Metric,
) -> None:
    design, trials = make_grid({"baseline": BASE, "noisy": [*NOISY[:2], *["running"] * 6]})
    study, comparison = (
        make_study(design, accuracy, state="running"),
        compare(design, accuracy, trials, protocol={}),
    )
    for text in (html.render(study, comparison), markdown.render(study, comparison)):
        assert "10 of 16 confirm runs have ended." in text
    assert html.render(study, compare(design, accuracy, [], protocol={}))
    assert latex.render(study, compare(design, accuracy, [], protocol={}))
