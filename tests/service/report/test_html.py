"""The page is a well-formed file without external resources; foreign text is escaped."""

import csv
import dataclasses
import io
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from gradnoise_service.compare.assembly import compare
from gradnoise_service.domain.design import Design
from gradnoise_service.domain.study import EpochMean, Metric, Study, Trial
from gradnoise_service.report import html, latex, markdown
from gradnoise_service.report.words.numbers import span

MakeTrials = Callable[..., tuple[Design, list[Trial]]]
MakeStudy = Callable[..., Study]
VOID = {"meta", "br", "hr", "img", "link", "input"}
GOOD = [0.9, 0.8, 0.85, 0.9, 0.95, 0.9]
BAD = [0.1, 0.2, 0.15, 0.1, 0.05, 0.1]
PROTOCOL = {
    "formulas": {"none": "g_t", "annealed": "sigma^2 = eta"},
    "versions": {"torch": "2.13.0"},
}
EPOCHS = [
    EpochMean(arm=arm, epoch=e, n=5, value=e / 10, noise_to_gradient=0.3)
    for arm in ("baseline", "noisy")
    for e in range(1, 8)
]
ATTACK = "<script>alert('x')</script>\"&"


class Outline(HTMLParser):
    """Reads a page; fails if a tag is not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.tags: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the figures, which take most of the time."""
    monkeypatch.setattr("gradnoise_service.report.figures.pictures", lambda _: {})


@pytest.fixture(scope="module")
def rendered() -> list[str]:
    """Holds `page` after the first test that needs it."""
    return []


@pytest.fixture
def page(
    rendered: list[str], make_trials: MakeTrials, make_study: MakeStudy, accuracy: Metric
) -> str:
    if rendered:
        return rendered[0]
    design, trials = make_trials({"baseline": BAD, "noisy": [*GOOD[:-1], "diverged"]})
    study = make_study(design, accuracy)
    comparison = compare(design, accuracy, trials, protocol=PROTOCOL, epochs=EPOCHS)
    rendered.append(html.render(study, comparison))
    return rendered[0]


def test_the_page_is_well_formed_and_loads_nothing(page: str) -> None:
    outline = Outline(page)
    assert not {"script", "link", "img", "iframe", "object"} & set(outline.tags)
    links = [
        value
        for name, value in outline.attributes
        if name in ("href", "src", "xlink:href", "srcset", "action")
    ]
    assert all(link and link.startswith("#") for link in links)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))
    assert "@import" not in page


def test_every_id_is_unique_and_every_reference_has_an_id(page: str) -> None:
    outline = Outline(page)
    ids = [value for name, value in outline.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    references = set(re.findall(r'(?:url\(|href=")#([^)"]+)', page))
    assert references
    assert references <= set(ids)


def test_every_figure_is_xml_in_the_page_s_colours_with_a_text_alternative(
    page: str,
) -> None:
    drawings = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(drawings) == 8
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        assert root.get("role") == "img"
        assert len(root.get("aria-label", "")) > 40
        assert not re.findall(r"#[0-9a-f]{6}\b", drawing)
        assert "DejaVu" not in drawing


def test_the_page_has_verdict_settings_seeds_versions_formula_and_spec(page: str) -> None:
    text = re.sub(r"<svg.*?</svg>|<style.*?</style>", "", page, flags=re.DOTALL)
    for words in (
        "noisy helps",
        "0.04",
        "sigma^2 = eta",
        "torch 2.13.0",
        "smallest_difference: 0.02",
        "1 of 6",
        "8 s",
        "noisy − baseline",
    ):
        assert words in text
    assert "<dt>Formula of noisy</dt><dd><code>sigma^2 = eta</code></dd>" in text
    assert text.index("noisy helps") < text.index("The arms") < text.index("Protocol")


def test_foreign_text_is_escaped(make_trials: MakeTrials, make_study: MakeStudy) -> None:
    metric = Metric(name=f"acc {ATTACK} $x$", direction="maximize", worst=0.0)
    design, trials = make_trials(
        {"baseline": BAD, "noisy": GOOD},
        description=ATTACK,
        options={"note": ATTACK},
        workload=ATTACK,
    )
    comparison = compare(
        design,
        metric,
        trials,
        protocol={"formulas": {"annealed": ATTACK}, ATTACK: {"torch": ATTACK}},
    )
    page = html.render(make_study(design, metric, error=ATTACK, state="failed"), comparison)
    assert "script" not in Outline(page).tags
    assert page.count("&lt;script&gt;") > 10


@pytest.mark.parametrize(
    ("direction", "noisy", "changes"),
    [
        ("maximize", [], {}),
        ("minimize", ["failed"] * 6, {}),
        pytest.param("minimize", ["diverged"] * 6, {}, marks=pytest.mark.slow),
        pytest.param("maximize", ["cancelled"] * 3, {}, marks=pytest.mark.slow),
        pytest.param("minimize", BAD, {}, marks=pytest.mark.slow),
        pytest.param("maximize", [0.5, "running"], {}, marks=pytest.mark.slow),
        pytest.param("minimize", [float("nan")] * 6, {}, marks=pytest.mark.slow),
        pytest.param("maximize", GOOD, {"space": {"lr": 0.1}}, marks=pytest.mark.slow),
        pytest.param("minimize", GOOD, {"confirm": {"n_seeds": 60}}, marks=pytest.mark.slow),
    ],
)
def test_the_page_is_well_formed_for_any_trials(
    make_trials: MakeTrials,
    make_study: MakeStudy,
    direction: str,
    noisy: list[float | str],
    changes: dict[str, object],
) -> None:
    metric = Metric(
        name="loss", direction=direction, worst=0.0 if direction == "maximize" else 100.0
    )  # type: ignore[arg-type]
    design, trials = make_trials({"baseline": BAD, "noisy": noisy}, **changes)
    text = html.render(make_study(design, metric), compare(design, metric, trials, protocol={}))
    assert Outline(text).open == []


def test_the_page_is_well_formed_without_trials_with_few_and_if_all_failed(
    make_trials: MakeTrials, make_study: MakeStudy, accuracy: Metric
) -> None:
    design, trials = make_trials({"baseline": BAD, "noisy": GOOD})
    failed = [dataclasses.replace(t, state="failed", value=None, params=None) for t in trials]
    for table in ([], trials[:2], failed):
        compared = compare(design, accuracy, table, protocol={})
        assert Outline(html.render(make_study(design, accuracy), compared)).open == []


@pytest.mark.slow
def test_each_of_ten_arms_but_the_first_has_a_verdict(
    make_trials: MakeTrials, make_study: MakeStudy, accuracy: Metric
) -> None:
    names = ["baseline", *(f"arm{i}" for i in range(9))]
    design, trials = make_trials(dict.fromkeys(names, GOOD))
    page = html.render(make_study(design, accuracy), compare(design, accuracy, trials, protocol={}))
    Outline(page)
    assert page.count('aria-label="Verdict on ') == 9


@pytest.mark.slow
def test_equal_comparisons_give_equal_pages_in_several_threads(
    make_trials: MakeTrials, make_study: MakeStudy, accuracy: Metric
) -> None:
    design, trials = make_trials({"baseline": BAD, "noisy": GOOD})
    study, comparison = make_study(design, accuracy), compare(design, accuracy, trials, protocol={})
    with ThreadPoolExecutor(3) as pool:
        pages = set(pool.map(lambda _: html.render(study, comparison), range(4)))
    assert len(pages) == 1


def test_every_plot_has_a_table(page: str) -> None:
    text = re.sub(r"<svg.*?</svg>|<style.*?</style>", "", page, flags=re.DOTALL)
    tables = [
        re.sub(r"<[^>]+>", "|", table)
        for table in re.findall(r"<details>.*?</details>", text, flags=re.DOTALL)
    ]
    confirm, search, curves, cells, courses, _ = tables
    assert f"|{max(GOOD):g}|" in confirm
    assert search.count("|complete|") == 8
    assert re.search(r"\|4\|+0\.4\|+0\.1 to –\|+0\.4\|+0\.1 to –\|", curves)
    assert re.search(r"\|0\.3\|.*\|4\||\|1\|", cells)
    assert "Each mark of the map is one training with one seed; 4 cells hold 1 trial each." in cells
    assert courses.count("|noisy|") == 7
    assert "varies from seed to seed with a standard deviation of 0.05701 (5 runs)" in cells


@pytest.mark.usefixtures("without_figures")
def test_an_interim_report_starts_with_a_notice(
    make_trials: MakeTrials, make_study: MakeStudy, accuracy: Metric
) -> None:
    design, trials = make_trials({"baseline": BAD, "noisy": [*GOOD[:4], "running", "waiting"]})
    comparison = compare(design, accuracy, trials, protocol={})
    for text in (
        html.render(make_study(design, accuracy, state="running"), comparison),
        markdown.render(make_study(design, accuracy, state="running"), comparison),
    ):
        assert "8 of 8 search trials and 10 of 12 confirm runs have ended." in text
        assert text.index("Interim") < text.index("No verdict")
        assert "at the declared number of seeds only" in text
    final_page = html.render(
        make_study(design, accuracy),
        compare(design, accuracy, make_trials({"baseline": BAD, "noisy": GOOD})[1], protocol={}),
    )
    assert "Interim" not in final_page


@pytest.mark.usefixtures("without_figures")
def test_a_report_on_unequal_tuning_starts_with_it(
    make_trials: MakeTrials, make_study: MakeStudy, accuracy: Metric
) -> None:
    """In every format with words it precedes the verdict."""
    noisy = {
        "name": "noisy",
        "technique": "annealed",
        "space": {"eta": 0.3, "gamma": 0.5},
        "n_trials": 9,
    }
    arms = [{"name": "baseline", "technique": "none"}, noisy]
    design, trials = make_trials(
        {"baseline": [0.1] * 6, "noisy": [0.5] * 6}, arms=arms, budget={"equal": "none"}
    )
    study, comparison = make_study(design, accuracy), compare(design, accuracy, trials, protocol={})
    for text in (
        html.render(study, comparison),
        markdown.render(study, comparison),
        latex.render(study, comparison),
    ):
        assert (
            0
            < text.index("The arms were not tuned equally: baseline 4 trials, noisy 9 trials.")
            < text.index("against baseline")
        )
        assert text.count("The arms were not tuned equally") == 1
        assert "with the same budget" not in text


@pytest.mark.usefixtures("without_figures")
def test_the_interval_over_repeated_searches_stands_beside_that_of_the_runs(
    make_trials: MakeTrials, make_study: MakeStudy, accuracy: Metric
) -> None:
    """A search that is large enough leads to no notice on tuning."""
    search = {"n_trials": 30, "epochs": 3, "sampler": "random", "rerun": {"n_seeds": 0}}
    design, trials = make_trials(
        {"baseline": BAD, "noisy": GOOD}, n_search=30, search=search, smallest_difference=0.3
    )
    comparison = compare(design, accuracy, trials, protocol={})
    text = html.render(make_study(design, accuracy), comparison)
    luck = comparison.differences[0].search_luck
    assert luck is not None
    assert f"With other searches</dt><dd>{span(luck.interval)}" in text
    assert "Insufficient tuning" not in text
    small, few = make_trials({"baseline": BAD, "noisy": GOOD})
    text = html.render(make_study(small, accuracy), compare(small, accuracy, few, protocol={}))
    assert "With other searches" not in text
    assert "Insufficient tuning" in text


@pytest.mark.usefixtures("without_figures")
def test_earlier_verdicts_are_reported(
    make_trials: MakeTrials, make_study: MakeStudy, accuracy: Metric
) -> None:
    design, trials = make_trials({"baseline": [0.1] * 8, "noisy": [0.9] * 8})
    comparison = compare(design, accuracy, trials, protocol={}).model_copy(
        update={"looks": (6,), "false_verdict_chance": 0.0805}
    )
    study = make_study(design, accuracy)
    assert (
        "after a verdict at 6 seeds. Over these looks, equal arms are called different in about "
        "8.05 % of such studies, not in 5 %" in html.render(study, comparison)
    )
    assert (
        "at 6 seeds: with equal arms about 8.05 % of such studies err, not 5 %"
        in markdown.render(study, comparison)
    )


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_many_search_trials_are_csv_in_the_page(
    make_trials: MakeTrials,
    make_trial: Callable[..., Trial],
    make_study: MakeStudy,
    accuracy: Metric,
) -> None:
    design, trials = make_trials(
        {"baseline": BAD, "noisy": GOOD}, search={"n_trials": 600, "epochs": 3}
    )
    trials += [
        make_trial(design, "search", arm, number, 0.2)
        for arm in ("baseline", "noisy")
        for number in range(4, 600)
    ]
    page = html.render(make_study(design, accuracy), compare(design, accuracy, trials, protocol={}))
    Outline(page)
    (lines,) = re.findall(r"<pre>(arm,search,trial,.*?)</pre>", page, flags=re.DOTALL)
    rows = list(csv.DictReader(io.StringIO(lines)))
    assert len(rows) == 1200
    shown = {
        "arm": "baseline",
        "trial": "4",
        "outcome": "complete",
        "value": "0.4",
        "best": "0.4",
        "lr": "0.04",
        "eta": "–",
    }
    assert shown.items() <= rows[3].items()


def test_stored_comparisons_are_shown_without_numpy_scipy_and_matplotlib() -> None:
    modules = "html, markdown, latex, csv, json, plots"
    code = (
        f"import sys; from gradnoise_service.report import {modules}; "
        "print(sorted({'numpy', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.usefixtures("without_figures")
def test_an_always_valid_report_has_a_verdict_while_the_study_runs(
    make_trials: MakeTrials, make_study: MakeStudy, accuracy: Metric
) -> None:
    values = {"baseline": [*BAD, *BAD, "running"], "noisy": [*GOOD, *GOOD, "running"]}
    design, trials = make_trials(values, confirm={"n_seeds": 24, "anytime": True})
    study = make_study(design, accuracy, state="running")
    comparison = compare(design, accuracy, trials, protocol=PROTOCOL)
    page, text = html.render(study, comparison), markdown.render(study, comparison)
    Outline(page)
    words = " ".join(re.sub("<[^>]+>", " ", page).split())
    assert "helps so far noisy against baseline" in words
    assert "The numbers below will change. The interval and p are valid at every number" in words
    assert "Always-valid test of the mean" in words
    assert "a confidence sequence of the centre of these differences" in words
    assert "A verdict is given at the declared number" not in page + text
    assert "have ended. The interval and p are valid at every number of pairs" in text
    assert "Always-valid boundary: The interval and p are valid" in text
    assert "| always-valid p |" in text
