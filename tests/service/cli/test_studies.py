"""`gradnoise submit`, `list`, `show`, `watch`, `cancel` and `extend` against a real API."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import Result

from cli_output import rows
from gradnoise_service import presets
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.store import attempts
from gradnoise_service.store.database import Database

Run = Callable[..., Result]


def test_submitted_file_is_listed_and_shown_by_id_and_name(
    gradnoise: Run, study_file: Path
) -> None:
    submitted = gradnoise("submit", study_file)
    assert submitted.exit_code == 0
    assert "a study (id 1)" in submitted.stdout
    assert rows(gradnoise("list"))[1][:3] == ["1", "a study", "queued"]
    by_id, by_name = gradnoise("show", 1), gradnoise("show", "a study")
    assert by_id.stdout == by_name.stdout
    assert any(row[0] == "state" and row[1].startswith("queued") for row in rows(by_id))


def test_study_is_read_from_the_standard_input(gradnoise: Run, study_file: Path) -> None:
    """As YAML or JSON; the seed is 0 by default and stored."""
    values = yaml.safe_load(study_file.read_text(encoding="utf-8"))
    del values["seed"]
    for name, text in (("one", yaml.safe_dump(values)), ("two", json.dumps(values, indent=2))):
        answer = gradnoise("submit", "-", "--name", name, "--json", input=text)
        assert answer.exit_code == 0, answer.stderr
        assert json.loads(answer.stdout)["spec"]["seed"] == 0
    assert "line 2" in gradnoise("submit", "-", input="a: [").stderr  # where the text ends


def test_verbs_take_several_studies(gradnoise: Run, study_file: Path, worker: Any) -> None:
    """Each must exist; a refusal of one is printed, and the others follow."""
    for number in (1, 2, 3):
        gradnoise("submit", study_file, "--name", f"study {number}")
    assert gradnoise("cancel", 1, "nowhere").exit_code == 1
    assert gradnoise("show", 1, "study 2").stdout.count("state\tqueued: ") == 2
    assert gradnoise("pause", 1, 2, 3).stdout.count("is paused") == 3
    assert gradnoise("priority", 1, 3, "--to", -5).stdout.count("paused, with priority -5") == 2
    assert gradnoise("resume", 2).stdout == "Study study 2 (id 2) is queued.\n"
    assert gradnoise("cancel", 1, 2, 3, 3).stdout.count("is cancelled") == 4
    refused = gradnoise("resume", 1, 2)
    assert (refused.exit_code, refused.stderr.count("only a study that is pausing")) == (1, 2)
    assert "study 2 (id 2)" in refused.stderr
    assert gradnoise("watch", 1, 3).exit_code == 1
    for number in (4, 5):
        gradnoise("submit", study_file, "--name", f"study {number}")
        worker.run_all(number)
    assert gradnoise("extend", 4, 5, "--seeds", 1).stdout.count("is queued again") == 2
    assert gradnoise("extend", 4, 5, "--seeds", 1, "--key", "k").exit_code == 2
    for wrong in ((), ("--seeds", 1, "--epochs", 1)):
        assert gradnoise("extend", 4, *wrong).exit_code == 2
    limited = gradnoise("list", "--limit", 2)
    assert [row[0] for row in rows(limited)[1:]] == ["5", "4"]
    assert "Only the newest 2 are listed; --limit lists more." in limited.stderr
    assert gradnoise("list", "--limit", 5).stderr == ""


def test_tags_and_notes_are_changed_and_shown(gradnoise: Run, study_file: Path) -> None:
    for name in ("one", "two"):
        gradnoise("submit", study_file, "--name", name)
    changed = gradnoise("remark", "one", 2, "--tag", "thesis", "--tag", "draft", "--note", "look")
    assert changed.stdout.count("tags\tdraft, thesis\nnote\tlook") == 2
    assert "tags\tdraft\nnote\tlook" in gradnoise("remark", "one", "--untag", "thesis").stdout
    assert ["tags", "draft"] in rows(gradnoise("show", "one"))
    found = gradnoise("list", "--tag", "thesis", "--text", "TWO")
    assert [row[1] for row in rows(found)[1:]] == ["two"]
    nothing = gradnoise("list", "--verdict", "helps")
    assert (rows(nothing)[1:], nothing.stderr) == ([], "No study matches.\n")
    assert gradnoise("remark", "one", "--tag", "Thesis").exit_code == 1


def test_a_search_or_a_study_is_stopped(gradnoise: Run, study_file: Path, worker: Any) -> None:
    gradnoise("submit", study_file, "--name", "first")
    assert "Not every arm" in gradnoise("stop", "first").stderr
    worker.begin(1)
    for _ in range(2):
        worker.end_trial(1, 0.5)
    for arguments, state in ((("--confirm",), "running"), ((), "stopping")):
        assert gradnoise("stop", 1, *arguments).stdout == f"Study first (id 1) is {state}.\n"


def test_a_study_is_cloned_with_changes_or_into_a_file(
    gradnoise: Run, study_file: Path, tmp_path: Path
) -> None:
    gradnoise("submit", study_file, "--name", "first")
    changes = ("--set", "seed=7", "--set", "arms.noisy.space.eta=0.25")
    assert "first-2 (id 2)" in gradnoise("clone", "first", *changes).stdout
    spec = json.loads(gradnoise("show", 2, "--json").stdout)["study"]["spec"]
    assert (spec["seed"], spec["arms"][1]["space"]["eta"]) == (7, 0.25)
    file = tmp_path / "copy.yaml"
    assert gradnoise("clone", 2, "--name", "second", "--output", file).exit_code == 0
    assert [row[0] for row in rows(gradnoise("list"))[1:]] == ["2", "1"]
    assert "second (id 3)" in gradnoise("submit", file).stdout
    changes = ("--set", "seed=2", "--unset", "confirm", "--unset", "arms.baseline")
    printed = yaml.safe_load(gradnoise("clone", 1, "-o", "-", *changes).stdout)
    assert (printed["name"], printed["seed"]) == ("first-3", 2)
    assert ("confirm" in printed, len(printed["arms"])) == (False, 1)
    assert gradnoise("clone", 1, "--unset", "confirm.more").exit_code == 1
    for wrong in ("seed", "seed=[", "=1", "seed.x=1"):
        assert gradnoise("clone", 1, "--set", wrong).exit_code in (1, 2)
    assert gradnoise("clone", 1, "--set", "seed=-1").exit_code == 1


def test_studies_are_deleted_once_that_is_confirmed(gradnoise: Run, study_file: Path) -> None:
    for name in ("one", "two"):
        gradnoise("submit", study_file, "--name", name)
    refused = gradnoise("delete", "one")
    assert (refused.exit_code, "confirm with --yes" in refused.stderr) == (2, True)
    assert gradnoise("delete", "one", 2, "--yes").stdout == (
        "Deleted the study one (id 1).\nDeleted the study two (id 2).\n"
    )
    assert rows(gradnoise("list"))[1:] == []


def test_dry_run_shows_the_plan_and_stores_nothing(gradnoise: Run, study_file: Path) -> None:
    """A queued study says its place and what it waits for."""
    shown = dict(row for row in rows(gradnoise("submit", study_file, "--dry-run")) if len(row) == 2)
    assert shown["study"] == "a study (dry run: nothing is stored)"
    assert shown["trials"] == "18 trials, 54 epochs together"
    assert shown["cost"].startswith("unknown")
    assert "cannot be detected reliably" in shown["power"]
    assert rows(gradnoise("list"))[1:] == []
    assert gradnoise("submit", study_file, "--dry-run", "--watch").exit_code == 2
    gradnoise("submit", study_file)
    state = "queued: next in the queue, waits for a dispatcher: none is running"
    assert ["state", state] in rows(gradnoise("show", 1))
    assert [row[-1] for row in rows(gradnoise("list"))] == ["place", "1"]


def test_submission_is_answered_with_what_it_cannot_show(gradnoise: Run, study_file: Path) -> None:
    """Two arms with 4 trials and 5 seeds: three warnings, which are also in the JSON answer."""
    printed = " ".join(gradnoise("submit", study_file).stdout.split())
    assert printed.count("! ") == 3
    assert "! The search of baseline is small: 4 trials for 1 searched parameter" in printed
    assert "! 5 confirm seeds cannot give a verdict: at least 6 pairs" in printed
    answer = json.loads(gradnoise("submit", study_file, "--name", "other", "--json").stdout)
    assert len(answer["warnings"]) == 3


def test_complete_study_is_extended(gradnoise: Run, study_file: Path, worker: Any) -> None:
    """An incomplete study is refused with exit code 1."""
    gradnoise("submit", study_file)
    refused = gradnoise("extend", "a study", "--seeds", 3)
    assert (
        refused.exit_code,
        "only a complete study can be extended" in " ".join(refused.stderr.split()),
    ) == (
        1,
        True,
    )
    worker.run_all(1)
    assert gradnoise("extend", "a study", "--seeds", 3).stdout.splitlines() == [
        "With 8 seeds, the error probability stays at 5 %: no earlier verdict adds to it.",
        "Study a study (id 1) is queued again, now with 8 seeds.",
    ]
    worker.run_all(1)
    extended = json.loads(gradnoise("extend", 1, "--seeds", 2, "--key", "k", "--json").stdout)
    assert [extension["at_n"] for extension in extended["extensions"]] == [5, 8]
    assert gradnoise("extend", 1, "--seeds", 0).exit_code == 2


def test_extension_states_its_error_and_is_confirmed_on_a_terminal(
    gradnoise: Run, study_file: Path, worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = yaml.safe_load(study_file.read_text(encoding="utf-8")) | {"confirm": {"n_seeds": 12}}
    study_file.write_text(yaml.safe_dump(values), encoding="utf-8")
    gradnoise("submit", study_file)
    worker.run_all(1)
    monkeypatch.setattr("gradnoise_service.terminal.console.is_interactive", lambda: True)
    cost = "With 24 seeds, equal arms are called different in about 8.31 % of such studies, not in"
    declined = gradnoise("extend", 1, "--seeds", 12, input="n\n")
    assert (declined.exit_code, cost in declined.stdout) == (1, True)
    assert json.loads(gradnoise("show", 1, "--json").stdout)["study"]["state"] == "complete"
    accepted = gradnoise("extend", 1, "--seeds", 12, "--yes")
    assert (accepted.exit_code, cost in accepted.stdout) == (0, True)
    assert json.loads(gradnoise("show", 1, "--json").stdout)["study"]["n_seeds"] == 24


def test_an_always_valid_study_states_its_boundary(
    gradnoise: Run, study_file: Path, worker: Any
) -> None:
    confirm = {"confirm": {"n_seeds": 12, "anytime": True}}
    values = yaml.safe_load(study_file.read_text(encoding="utf-8")) | confirm
    study_file.write_text(yaml.safe_dump(values), encoding="utf-8")
    gradnoise("submit", study_file)
    assert "12 paired seeds of 3 epochs, with a verdict at every number of them" in (
        gradnoise("show", 1).stdout
    )
    worker.run_all(1)
    extended = gradnoise("extend", 1, "--seeds", 12).stdout
    assert extended.startswith("With 24 seeds, the error probability stays at 5 %: ")


def test_study_without_search_is_submitted_run_reported_and_extended(
    gradnoise: Run, make_spec: Callable[..., StudySpec], worker: Any, tmp_path: Path
) -> None:
    """The report has a row for each setting; an incomplete declaration names the missing field."""
    values = make_spec().model_dump(mode="json", exclude={"search"})
    noisy = {"name": "noisy", "technique": "annealed", "space": {"eta": 0.3, "gamma": 0.5}}
    values |= {
        "space": {"lr": {"choices": [0.1, 0.01]}},
        "arms": [{"name": "baseline", "technique": "none"}, noisy],
    }
    file = tmp_path / "restarts.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    refused = gradnoise("submit", file)
    assert (refused.exit_code, "confirm.epochs" in refused.stderr) == (1, True)
    file.write_text(
        yaml.safe_dump(values | {"confirm": {"n_seeds": 5, "epochs": 3}}), encoding="utf-8"
    )
    assert gradnoise("submit", file).exit_code == 0
    assert ["search", "none: every arm runs 2 settings on every seed"] in rows(gradnoise("show", 1))
    worker.run_all(1)
    report = gradnoise("report", 1).stdout
    assert "10 pairs of runs (2 settings, 5 seeds), better in 0, tied in 10" in report
    assert "| 0.1 | 5 | 0.54 ± " in report
    assert "point,lr" in gradnoise("report", 1, "--format", "csv").stdout.splitlines()[0]
    assert gradnoise("extend", 1, "--seeds", 2).exit_code == 0
    assert [row for row in rows(gradnoise("show", 1)) if row[0] == "confirm"][1][2] == "10/14"


def test_json_output_is_one_document(gradnoise: Run, study_file: Path) -> None:
    """Stdout holds nothing else, so that a script can parse it."""
    submitted = json.loads(gradnoise("submit", study_file, "--json").stdout)
    assert (submitted["id"], submitted["spec"]["seed"]) == (1, 1)
    assert [study["id"] for study in json.loads(gradnoise("list", "--json").stdout)] == [1]
    shown = json.loads(gradnoise("show", "1", "--json").stdout)
    assert (shown["study"]["name"], shown["progress"]["state"], shown["comparison"]) == (
        "a study",
        "queued",
        None,
    )
    assert json.loads(gradnoise("workloads", "--json").stdout)["workloads"][0]["name"] == "mlp"
    presets_listed = json.loads(gradnoise("presets", "--json").stdout)
    assert [preset["name"] for preset in presets_listed] == presets.names()
    assert json.loads(gradnoise("presets", "demo", "--json").stdout)[0]["workload"] == "mlp"
    findings = json.loads(gradnoise("doctor", "--json").stdout)
    assert {finding["name"] for finding in findings} >= {"Python", "database", "service"}
    assert json.loads(gradnoise("cancel", "1", "--json").stdout)["state"] == "cancelled"
    watched = gradnoise("watch", "1", "--json").stdout.splitlines()
    assert [json.loads(line)["state"] for line in watched] == ["cancelled"]


def test_preset_takes_the_next_free_name(gradnoise: Run) -> None:
    """A name on the command line replaces the preset's."""
    assert [gradnoise("submit", "--preset", "demo").exit_code for _ in range(2)] == [0, 0]
    assert gradnoise("submit", "--preset", "demo", "--name", "mine").exit_code == 0
    assert [row[1] for row in rows(gradnoise("list"))[1:]] == ["mine", "demo-2", "demo"]


@pytest.mark.usefixtures("whole_catalogue")
def test_paper_table_is_submitted_once_and_watched(gradnoise: Run, worker: Any) -> None:
    """Each study has a line; existing studies are marked; an unknown scale is refused."""
    refused = gradnoise("submit", "--preset", "paper-table-1", "--scale", "huge")
    assert (refused.exit_code, "legal: quick | half | full | long" in refused.stderr) == (1, True)
    names = [spec["name"] for spec in presets.load("paper-table-1", "quick")]
    quick = ("submit", "--preset", "paper-table-1", "--scale", "quick")
    submitted = gradnoise(*quick).stdout.splitlines()
    assert [line.split(" (id ")[0] for line in submitted] == [f"Submitted {name}" for name in names]
    for i in range(1, len(names)):
        gradnoise("cancel", i)
    worker.run_all(len(names))
    again = gradnoise(*quick, "--watch")
    assert again.exit_code == 1
    states = ["cancelled"] * (len(names) - 1) + ["complete"]
    lines = again.stdout.splitlines()
    assert [line.split("): ")[0] for line in lines[: len(names)]] == [
        f"Already submitted: {name} (id {i}, {state}"
        for i, (name, state) in enumerate(zip(names, states, strict=True), start=1)
    ]
    assert sum(line.startswith(tuple(names)) for line in lines) == len(names)


@pytest.mark.usefixtures("whole_catalogue")
def test_row_of_a_paper_table_is_a_study(gradnoise: Run) -> None:
    """It is printed, and submitted once by its name or its key; an unknown row is refused."""
    row = ("--preset", "paper-table-1", "--scale", "quick", "--row", "simple clip 10")
    printed = json.loads(gradnoise("presets", *row[1:], "--json").stdout)
    assert [spec["name"] for spec in printed] == ["paper-table-1 simple clip 10 quick"]
    assert [gradnoise("submit", *row).exit_code for _ in range(2)] == [0, 0]
    with_key = ("submit", *row, "--name", "mine", "--key", "k")
    assert [gradnoise(*with_key).exit_code for _ in range(2)] == [0, 0]
    assert [cells[1] for cells in rows(gradnoise("list"))[1:]] == [
        "mine",
        "paper-table-1 simple clip 10 quick",
    ]
    refused = gradnoise("submit", *row[:-1], "complex")
    legal = "legal: simple | simple clip 100 | simple clip 10"
    assert (refused.exit_code, legal in refused.stderr) == (1, True)


def test_watch_exits_with_1_for_a_cancelled_study(gradnoise: Run, study_file: Path) -> None:
    gradnoise("submit", study_file)
    cancelled = gradnoise("cancel", "a study")
    assert (cancelled.exit_code, cancelled.stdout) == (0, "Study a study (id 1) is cancelled.\n")
    assert gradnoise("watch", 1).exit_code == 1


def test_watch_shows_the_error_of_a_failed_study(
    gradnoise: Run, study_file: Path, worker: Any
) -> None:
    gradnoise("submit", study_file)
    worker.begin(1)
    worker.fail(1, "Every trial of the search failed. The first error:\nRuntimeError: no data")
    watched = gradnoise("watch", 1)
    assert watched.exit_code == 1
    assert "RuntimeError: no data" in watched.stdout


@pytest.mark.parametrize("command", ["watch", "show"])
def test_complete_study_shows_its_verdict(
    gradnoise: Run, study_file: Path, worker: Any, command: str
) -> None:
    gradnoise("submit", study_file)
    worker.begin(1)
    worker.end_trial(1, 0.5)
    worker.complete(1)
    result = gradnoise(command, 1)
    assert result.exit_code == 0
    assert "undecided" in result.stdout


def test_show_and_list_have_the_first_error_of_an_arm(
    gradnoise: Run, study_file: Path, worker: Any, live_database: Database
) -> None:
    gradnoise("submit", study_file)
    worker.begin(1)
    now = datetime.now(UTC)
    with live_database.session(write=True) as session:
        trial = attempts.waiting(session, 1, "search")[0].trial
        token = attempts.start(session, trial.id, {"lr": 0.1}, 0, now)
        attempts.end(session, token, "failed", now, value=0.0, error="KeyError: 1")
    sentence = f"1 trial of {trial.arm} failed. The first error, of search trial 0: KeyError: 1"
    shown = gradnoise("show", "1").stdout
    assert f"! {sentence}" in shown.splitlines()
    assert f"gradnoise logs 1 search/{trial.arm}/0" in shown
    assert f"! a study (id 1): {sentence}" in gradnoise("list").stderr.splitlines()
