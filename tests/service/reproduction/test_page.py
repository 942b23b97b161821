"""The page on the reproduction of the paper, from stored studies of a small table."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from gradnoise_service import presets
from gradnoise_service.cli.app import app
from gradnoise_service.client import Client
from gradnoise_service.compare.intervals import mean_interval
from gradnoise_service.compare.wording import signed
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Trial
from gradnoise_service.presets import loading
from gradnoise_service.reproduction.reading import table_results
from gradnoise_service.reproduction.writing import write

STUDY = {
    "workload": "mlp",
    "smallest_difference": 0.01,
    "space": {"lr": {"choices": [0.1, 0.01]}},
    "arms": [
        {"name": "baseline", "technique": "none"},
        {"name": "noisy", "technique": "annealed", "space": {"eta": 0.01, "gamma": 0.55}},
        {"name": "noisy-1.0", "technique": "annealed", "space": {"eta": 1.0, "gamma": 0.55}},
    ],
    "confirm": {"n_seeds": 6, "epochs": 8, "thresholds": [0.6]},
    "seed": 1,
}
MEAN = {"statistic": "mean", "values": {"baseline": 0.431, "noisy": 0.527}}
SHARE = {
    "statistic": "reached",
    "threshold": 0.6,
    "values": {"baseline": 0.01, "noisy": 0.05},
    "runs": 100,
    "source": "Section | 4",
}
TABLE = {
    "name": "paper-table-9",
    "description": "A table with *marks* of Markdown | and a bar.",
    "study": STUDY,
    "rows": [
        {
            "name": "a",
            "title": "Row | A",
            "paper": [{"statistic": "best", "values": {"baseline": 0.899, "noisy": 0.967}}, MEAN],
        },
        {"name": "b", "title": "Row B", "paper": [SHARE], "study": {"seed": 2}},
        {"name": "c", "title": "Row C", "paper": [SHARE], "study": {"seed": 3}},
        {"name": "d", "title": "Row D", "paper": [MEAN], "study": {"seed": 4}},
        {
            "name": "e",
            "title": "Row E",
            "paper": [MEAN],
            "study": {"seed": 5, "options": {"depth": 3}},
        },
    ],
    "scales": {
        "quick": {"options": {"dataset": "digits"}, "confirm": {"n_seeds": 4, "epochs": 2}},
        "full": {},
    },
}
GAINS = {"baseline": 0.0, "noisy": 0.2, "noisy-1.0": 0.0}


def value(trial: Trial) -> float:
    return 0.5 + GAINS[trial.arm] + 0.001 * (trial.number % 3)


@pytest.fixture
def client(
    api: Any, whole_catalogue: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Client]:
    """A client of a service whose presets are the table and a single study."""
    folder = tmp_path / "presets"
    folder.mkdir()
    (folder / "paper-table-9.yaml").write_text(json.dumps(TABLE), encoding="utf-8")
    (folder / "demo.yaml").write_text(presets.text("demo"), encoding="utf-8")
    monkeypatch.setattr(loading, "FILES", folder)
    monkeypatch.setenv("GRADNOISE_URL", api.url)
    with Client(api.url) as client:
        yield client


@pytest.fixture
def ran(client: Client, worker: Any) -> Client:
    """The client after row a ran at both scales and b at quick.

    Row c is queued at quick, and a different study has the name of row d.
    """
    full, quick = (client.preset("paper-table-9", scale) for scale in ("full", "quick"))
    for spec in (full[0], quick[0], quick[1], full[3] | {"seed": 99}):
        worker.run_all(client.submit(spec).id, value)
    client.submit(quick[2])
    return client


def test_each_row_has_its_largest_complete_scale(ran: Client) -> None:
    """A different study with the row's name does not count."""
    (result,) = table_results(ran)
    assert [row.study and row.study.scale for row in result.rows] == [
        "full",
        "quick",
        None,
        None,
        None,
    ]
    states = ["not complete, queued at scale quick", "not run", "not run"]
    assert [row.state for row in result.rows if row.study is None] == states


def test_every_claim_has_a_sentence(ran: Client, tmp_path: Path) -> None:
    """It has the standing, the paper's figures, the difference of the stored report, the scale."""
    assert write(ran, tmp_path / "page.md") == (5, 2)
    bullets = [
        line
        for line in (tmp_path / "page.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("- ")
    ]
    noisy, other = ran.comparison(ran.study("paper-table-9 a").id)["differences"]

    def here(d: Any) -> str:
        interval = d["difference_interval"]
        ends = f"{signed(interval['low'])} to {signed(interval['high'])}"
        return (
            f"here the mean accuracy differs by {signed(d['difference'])}, 97.5 % interval {ends}, "
            "12 pairs"
        )

    best = "Best settings: noisy 0.701 at lr {0}, baseline 0.501 at lr {0}."
    less = (
        "Not run at full scale: quick, seeds 4 in place of 6, epochs 2 in place of 8, dataset "
        "digits in place of –."
    )
    assert bullets == [
        "- 🟢 **Row \\| A, noisy: stood.** In the paper it is ahead of baseline in the mean accuracy "
        "(0.527 against 0.431); "
        f"{here(noisy)}: helps. Run at full scale. {best.format('0.1')}",
        f"- 🔵 **Row \\| A, noisy-1.0: not in the paper.** The paper has no figures for it; "
        f"{here(other)}: no difference. Run at full scale. "
        f"{best.format('0.1').replace('noisy 0.701', 'noisy-1.0 0.501')}",
        "- 🟢 **Row B, noisy: stood at quick scale.** In the paper it is ahead of baseline in the "
        "share of runs at accuracy 0.6 or above "
        "(5 % against 1 %); here the share of runs at accuracy 0.6 or above differs by +1, 97.5 % "
        "interval +1 to +1, 8 pairs: "
        f"helps. {less} {best.format('0.01')}",
        "- 🔵 **Row B, noisy-1.0: not in the paper.** The paper has no figures for it; here the "
        "mean accuracy differs by 0, "
        f"97.5 % interval 0 to 0, 8 pairs: no difference. {less} "
        f"{best.format('0.01').replace('noisy 0.701', 'noisy-1.0 0.501')}",
        "- ⚪ **Row C: not complete, queued at scale quick.**",
        "- ⚪ **Row D: not run.**",
        "- ⚪ **Row E: not run.**",
    ]


def test_every_row_has_its_command(ran: Client, tmp_path: Path) -> None:
    """The scale is that of the complete study, else full."""
    write(ran, tmp_path / "page.md")
    commands = [
        line
        for line in (tmp_path / "page.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("gradnoise submit")
    ]
    scales = {"a": "full", "b": "quick", "c": "full", "d": "full", "e": "full"}
    assert commands == [
        f"gradnoise submit --preset paper-table-9 --scale {scale} --row {row} --watch"
        for row, scale in scales.items()
    ]


def test_tables_have_the_figures_of_the_paper_beside_ours(ran: Client, tmp_path: Path) -> None:
    """They have best values, means and shares with intervals, runs and device time."""
    write(ran, tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert (
        "| Row \\| A | best accuracy | baseline 0.899<br>noisy 0.967 | baseline 0.502<br>noisy "
        "0.702<br>noisy-1.0 0.502 |" in text
    )
    noisy = [0.7 + 0.001 * (i % 3) for i in range(12)]
    interval = mean_interval(noisy, level=0.95, seed=1)
    ours = f"<br>noisy 0.701 ({round(interval.low, 4):.4g} to {round(interval.high, 4):.4g})<br>"
    (line,) = [
        line
        for line in text.splitlines()
        if line.startswith("| Row \\| A | mean accuracy | baseline 0.431<br>noisy 0.527 |")
    ]
    assert ours in line
    assert (
        "noisy 5 %<br>(100 runs, Section \\| 4) | baseline 0 %, 0 of 8 (0 % to 32.4 %)<br>noisy "
        "100 %, 8 of 8 (67.6 % to 100 %)" in text
    )
    seconds = 12 * 8 * 2
    assert (
        f"| helps | full | baseline {seconds // 60} min {seconds % 60} s<br>noisy {seconds // 60} "
        f"min {seconds % 60} s |" in text
    )
    assert "A table with \\*marks\\* of Markdown \\| and a bar." in text
    for block in re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_cost_is_measured_or_unknown_for_other_options(ran: Client, tmp_path: Path) -> None:
    """Every epoch took 2 seconds; the scale quick has other options than full."""
    (result,) = table_results(ran)
    whole = 3 * 12 * 8 * 2.0
    assert [row.full_seconds for row in result.rows] == [whole, None, None, None, None]
    spec = StudySpec.model_validate(ran.preset("paper-table-9")[0])
    assert whole == 2.0 * spec.n_epochs_total
    write(ran, tmp_path / "page.md")
    assert "| paper-table-9 | 180 | 0.16 h | 1 measured, 4 unknown |" in (
        tmp_path / "page.md"
    ).read_text(encoding="utf-8")


def test_cost_is_extrapolated_from_an_incomplete_study(client: Client, worker: Any) -> None:
    """It follows from the seconds per epoch; a study without epochs has none."""
    spec = client.preset("paper-table-9")[0]
    study = client.submit(spec)
    assert table_results(client)[0].rows[0].full_seconds is None
    worker.begin(study.id)
    worker.end_trial(study.id, 0.75)
    (trial,) = client.trials(study.id, state="complete")
    assert trial.epochs == 8
    assert (
        table_results(client)[0].rows[0].full_seconds
        == trial.device_seconds / 8 * StudySpec.model_validate(spec).n_epochs_total
    )


def test_picture_describes_every_claim(ran: Client, tmp_path: Path) -> None:
    """The description of the SVG lists the claims of all rows that ran."""
    write(ran, tmp_path / "page.md")
    assert "(pictures/paper-table-9.svg)" in (tmp_path / "page.md").read_text(encoding="utf-8")
    text = "".join(
        ElementTree.parse(tmp_path / "pictures" / "paper-table-9.svg").getroot().itertext()
    )
    assert "Row | A, noisy: the paper +0.096, here +0.2 (" in text
    assert "Row B, noisy-1.0: the paper –, here 0 (0 to 0), not in the paper" in text


def test_command_writes_the_page(client: Client, tmp_path: Path) -> None:
    """Without studies, every row is marked as not run, and there are no pictures."""
    file = tmp_path / "page.md"
    made = CliRunner().invoke(app, ["reproduction", "--output", str(file), "--json"])
    assert (made.exit_code, json.loads(made.stdout)) == (
        0,
        {"file": str(file), "rows": 5, "ran": 0},
    )
    assert (
        len(
            re.findall(
                r"^- ⚪ \*\*.*: not run\.\*\*$", file.read_text(encoding="utf-8"), re.MULTILINE
            )
        )
        == 5
    )
    assert not (tmp_path / "pictures").exists()
    assert "| [paper-table-9](#paper-table-9) | – | – | – | – | 5 of 5 | – |" in file.read_text(
        encoding="utf-8"
    )
