"""The command line against a real API: what it prints, and the exit codes that scripts rely on."""

import json
import os
import pty
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from gradnoise_service import ports, presets
from gradnoise_service.cli import app
from gradnoise_service.domain.spec import StudySpec

Run = Callable[..., Result]
MakeSpec = Callable[..., StudySpec]


@pytest.fixture
def gradnoise(api: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that runs the command against the API, from a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRADNOISE_URL", api.url)
    return lambda *arguments, **options: CliRunner().invoke(
        app, [str(argument) for argument in arguments], **options
    )


@pytest.fixture
def study_file(make_spec: MakeSpec, tmp_path: Path) -> Path:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(make_spec().model_dump(mode="json")), encoding="utf-8")
    return file


def rows(result: Result) -> list[list[str]]:
    return [line.split("\t") for line in result.stdout.splitlines()]


def test_a_file_is_submitted_and_shown(gradnoise: Run, study_file: Path) -> None:
    """The id is printed, and the study can be listed and shown by id and by name."""
    submitted = gradnoise("submit", study_file)
    assert submitted.exit_code == 0
    assert "a study (id 1)" in submitted.stdout
    assert rows(gradnoise("list"))[1][:3] == ["1", "a study", "queued"]
    by_id, by_name = gradnoise("show", 1), gradnoise("show", "a study")
    assert by_id.stdout == by_name.stdout
    assert ["state", "queued"] in rows(by_id)


def test_a_complete_study_is_extended(gradnoise: Run, study_file: Path, worker: Any) -> None:
    """By name; one that is not complete is refused with exit code 1."""
    gradnoise("submit", study_file)
    refused = gradnoise("extend", "a study", "--seeds", 3)
    assert (refused.exit_code, "only a complete one can be extended" in refused.stderr) == (1, True)
    worker.run_all(1)
    assert (
        gradnoise("extend", "a study", "--seeds", 3).stdout
        == "Study a study (id 1) is queued again, now for 8 seeds.\n"
    )
    worker.run_all(1)
    extended = json.loads(gradnoise("extend", 1, "--seeds", 2, "--key", "k", "--json").stdout)
    assert [one["at_n"] for one in extended["extensions"]] == [5, 8]
    assert gradnoise("extend", 1, "--seeds", 0).exit_code == 2


def test_a_study_without_a_search_is_submitted_run_reported_and_extended(
    gradnoise: Run, make_spec: MakeSpec, worker: Any, tmp_path: Path
) -> None:
    """From the file to the report, which has a row for each setting; refused with the field where
    it cannot be.
    """
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


def test_everything_is_json_on_request(gradnoise: Run, study_file: Path) -> None:
    """One document on stdout and nothing else."""
    submitted = json.loads(gradnoise("submit", study_file, "--json").stdout)
    assert (submitted["id"], submitted["spec"]["seed"]) == (1, 1)
    assert [one["id"] for one in json.loads(gradnoise("list", "--json").stdout)] == [1]
    shown = json.loads(gradnoise("show", "1", "--json").stdout)
    assert (shown["study"]["name"], shown["progress"]["state"], shown["comparison"]) == (
        "a study",
        "queued",
        None,
    )
    assert json.loads(gradnoise("workloads", "--json").stdout)["workloads"][0]["name"] == "mlp"
    assert json.loads(gradnoise("presets", "--json").stdout)[0]["name"] == "demo"
    assert json.loads(gradnoise("presets", "demo", "--json").stdout)[0]["workload"] == "mlp"
    assert {one["name"] for one in json.loads(gradnoise("doctor", "--json").stdout)} >= {
        "Python",
        "database",
        "service",
    }
    assert json.loads(gradnoise("cancel", "1", "--json").stdout)["state"] == "cancelled"
    assert [
        json.loads(line)["state"] for line in gradnoise("watch", "1", "--json").stdout.splitlines()
    ] == ["cancelled"]


def test_a_preset_is_submitted_under_a_free_name(gradnoise: Run) -> None:
    """Twice under its own name, then under one that was asked for."""
    assert [gradnoise("submit", "--preset", "demo").exit_code for _ in range(2)] == [0, 0]
    assert gradnoise("submit", "--preset", "demo", "--name", "mine").exit_code == 0
    assert [row[1] for row in rows(gradnoise("list"))[1:]] == ["mine", "demo-2", "demo"]


@pytest.mark.usefixtures("whole_catalogue")
def test_a_table_is_submitted_once_and_followed(gradnoise: Run, worker: Any) -> None:
    """Each of its studies has a line, those that are there are told of, and all are followed; a
    scale that is none is refused.
    """
    refused = gradnoise("submit", "--preset", "paper-table-1", "--scale", "huge")
    assert (refused.exit_code, "legal: quick | half | full" in refused.stderr) == (1, True)
    names = [spec["name"] for spec in presets.load("paper-table-1", "quick")]
    submitted = gradnoise(
        "submit", "--preset", "paper-table-1", "--scale", "quick"
    ).stdout.splitlines()
    assert [line.split(" (id ")[0] for line in submitted] == [f"Submitted {name}" for name in names]
    for i in range(1, len(names)):
        gradnoise("cancel", i)
    worker.run_all(len(names))
    again = gradnoise("submit", "--preset", "paper-table-1", "--scale", "quick", "--watch")
    assert again.exit_code == 1
    states = ["cancelled"] * (len(names) - 1) + ["complete"]
    lines = again.stdout.splitlines()
    assert [line.split("): ")[0] for line in lines[: len(names)]] == [
        f"Already there: {name} (id {i}, {state}"
        for i, (name, state) in enumerate(zip(names, states, strict=True), start=1)
    ]
    assert sum(line.startswith(tuple(names)) for line in lines) == len(names)


def test_a_refusal_is_one_readable_block(gradnoise: Run, study_file: Path) -> None:
    """Each field with its value, what is wrong and what is legal, on stderr; nothing is stored."""
    study = yaml.safe_load(study_file.read_text(encoding="utf-8"))
    study["workload"] = "nope"
    study["space"]["lr"]["low"] = -1
    study_file.write_text(yaml.safe_dump(study), encoding="utf-8")
    refused = gradnoise("submit", study_file)
    assert refused.exit_code == 1
    assert refused.stdout == ""
    assert "space.lr" in refused.stderr
    assert "legal:" in refused.stderr
    assert rows(gradnoise("list"))[1:] == []
    problem = json.loads(gradnoise("submit", study_file, "--json").stderr)
    assert (problem["status"], bool(problem["errors"])) == (422, True)


def test_a_malformed_file_is_named_by_line_and_column(gradnoise: Run, study_file: Path) -> None:
    """It is bad input: exit code 2."""
    study_file.write_text("name: x\nspace: [1\nseed: 1", encoding="utf-8")
    refused = gradnoise("submit", study_file)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "line 3, column 5" in refused.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["submit"],
        ["submit", "no-such-file.yaml"],
        ["submit", "study.yaml", "--preset", "demo"],
        ["list", "--state", "sleeping"],
        ["list", "--limit", "0"],
        ["presets", "nope"],
        ["presets", "demo", "--scale", "quick"],
        ["presets", "demo", "--row", "simple"],
        ["presets", "paper-table-1", "--row", "complex"],
        ["submit", "study.yaml", "--row", "simple"],
        ["submit", "study.yaml", "--scale", "quick"],
        ["submit", "--preset", "paper-table-1", "--name", "mine"],
        ["demo", "--preset", "paper-table-1"],
        ["demo", "--preset", "nope"],
        ["report", "1", "--format", "pdf"],
        ["report", "1", "--format", "svg"],
        ["token", "create", "laptop", "--owner", "ada", "--scope", "everything"],
        ["up", "--port", "0"],
        ["nope"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_ends_with_2(
    gradnoise: Run, study_file: Path, arguments: list[str]
) -> None:
    """Usage errors and bad input are told apart from refusals."""
    assert gradnoise(*arguments).exit_code == 2


def test_wrong_settings_are_named(gradnoise: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """By variable and value, with exit code 2."""
    monkeypatch.setenv("GRADNOISE_PORT", "many")
    monkeypatch.delenv("GRADNOISE_URL")
    refused = gradnoise("list")
    assert refused.exit_code == 2
    assert "GRADNOISE_PORT='many'" in refused.stderr


def test_a_file_that_cannot_be_written_is_named(
    gradnoise: Run, study_file: Path, worker: Any, tmp_path: Path
) -> None:
    """With what the system says, and exit code 2."""
    gradnoise("submit", study_file)
    worker.begin(1)
    worker.end_trial(1, 0.5)
    refused = gradnoise("report", 1, "--output", tmp_path / "no" / "such" / "folder.html")
    assert refused.exit_code == 2
    assert "folder.html: no such file or directory" in refused.stderr


def test_no_service_ends_with_3(gradnoise: Run) -> None:
    """With the address and what to do about it."""
    url = f"http://127.0.0.1:{ports.free('127.0.0.1')}"
    refused = gradnoise("list", "--url", url)
    assert refused.exit_code == 3
    assert url in refused.stderr
    assert "gradnoise up" in refused.stderr


def test_an_unknown_study_ends_with_1(gradnoise: Run) -> None:
    """And says which one."""
    refused = gradnoise("show", "nothing")
    assert refused.exit_code == 1
    assert "'nothing'" in refused.stderr


def test_watching_ends_with_1_when_the_study_was_cancelled(
    gradnoise: Run, study_file: Path
) -> None:
    """So that a script sees it."""
    gradnoise("submit", study_file)
    cancelled = gradnoise("cancel", "a study")
    assert (cancelled.exit_code, cancelled.stdout) == (0, "Study a study (id 1) is cancelled.\n")
    assert gradnoise("watch", 1).exit_code == 1
    assert gradnoise("cancel", 1).exit_code == 1


def test_watching_a_failed_study_shows_its_error(
    gradnoise: Run, study_file: Path, worker: Any
) -> None:
    """The first error of its trials."""
    gradnoise("submit", study_file)
    worker.begin(1)
    worker.fail(
        1, "Every trial of the search failed. The first error:\nRuntimeError: no such thing"
    )
    watched = gradnoise("watch", 1)
    assert watched.exit_code == 1
    assert "RuntimeError: no such thing" in watched.stdout


def test_a_complete_study_shows_its_verdict(
    gradnoise: Run, study_file: Path, worker: Any, tmp_path: Path
) -> None:
    """On watching, on showing, and as a report in a file."""
    gradnoise("submit", study_file)
    worker.begin(1)
    worker.end_trial(1, 0.5)
    worker.complete(1)
    for command in ("watch", "show"):
        result = gradnoise(command, 1)
        assert result.exit_code == 0
        assert "undecided" in result.stdout
    assert gradnoise("report", 1, "--output", tmp_path / "report.html").exit_code == 0
    assert "<html" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert gradnoise("report", 1).stdout.startswith("#")
    assert json.loads(gradnoise("report", 1, "--format", "json").stdout)["verdict"] == "undecided"
    assert gradnoise("report", 1, "--output", tmp_path / "table.tex").exit_code == 0
    assert r"\toprule" in (tmp_path / "table.tex").read_text(encoding="utf-8")
    assert gradnoise("report", 1, "--format", "csv").stdout.startswith("phase,arm,")
    assert (
        gradnoise("report", 1, "--format", "png", "--output", tmp_path / "figures").exit_code == 0
    )
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["best_so_far.png"]


def test_workloads_are_listed_with_what_they_take(gradnoise: Run) -> None:
    """Options with their legal values and defaults, parameters with their ranges."""
    listed = rows(gradnoise("workloads"))
    assert ["option", "dataset", "digits | mnist = digits", "The images."] in listed
    assert listed[listed.index(["technique", "annealed", "-", "Annealed gradient noise."]) + 1][
        :3
    ] == ["parameter", "eta", "[0, inf)"]
    assert ["parameter", "lr", "(0, inf)", "Learning rate."] in listed
    assert ["parameter", "lr_schedule", "constant | step", "How the rate changes."] in listed
    assert [
        "parameter",
        "lr_every_epochs",
        "whole in [1, inf)",
        "Epochs from one rate to the next.",
    ] in listed


@pytest.mark.usefixtures("whole_catalogue")
def test_a_row_of_a_table_is_a_study_of_its_own(gradnoise: Run) -> None:
    """Printed, and submitted once by its name and once by its key; a row that is none is refused
    with those that are legal.
    """
    of_row = ("--preset", "paper-table-1", "--scale", "quick", "--row", "simple clip 10")
    printed = json.loads(gradnoise("presets", *of_row[1:], "--json").stdout)
    assert [spec["name"] for spec in printed] == ["paper-table-1 simple clip 10 quick"]
    assert [gradnoise("submit", *of_row).exit_code for _ in range(2)] == [0, 0]
    assert [
        gradnoise("submit", *of_row, "--name", "mine", "--key", "k").exit_code for _ in range(2)
    ] == [0, 0]
    assert [row[1] for row in rows(gradnoise("list"))[1:]] == [
        "mine",
        "paper-table-1 simple clip 10 quick",
    ]
    refused = gradnoise("submit", *of_row[:-1], "complex")
    assert (
        refused.exit_code,
        "legal: simple | simple clip 100 | simple clip 10" in refused.stderr,
    ) == (1, True)


@pytest.mark.usefixtures("whole_catalogue")
def test_a_preset_is_printed_as_a_file_to_start_from(gradnoise: Run, study_file: Path) -> None:
    """What is printed can be submitted."""
    study_file.write_text(gradnoise("presets", "demo").stdout, encoding="utf-8")
    assert gradnoise("submit", study_file).exit_code == 0
    study_file.write_text(
        gradnoise("presets", "paper-table-1", "--scale", "half").stdout, encoding="utf-8"
    )
    assert gradnoise("submit", study_file, "--key", "k").exit_code == 2
    assert gradnoise("submit", study_file).exit_code == 0
    assert rows(gradnoise("list"))[1][1] == presets.load("paper-table-1", "half")[-1]["name"]


def test_the_doctor_says_what_to_do(
    gradnoise: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each thing has a line; what is not well has a hint."""
    found = {row[1]: row for row in rows(gradnoise("doctor"))}
    assert found["torch"][0] == "ok"
    assert found["service"][0] == "ok"
    assert found["workers"][0] == "fail"
    assert "gradnoise up" in found["workers"][3]
    monkeypatch.setenv("GRADNOISE_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    monkeypatch.setenv("GRADNOISE_URL", f"http://127.0.0.1:{ports.free('127.0.0.1')}")
    unwell = gradnoise("doctor")
    assert unwell.exit_code == 1
    assert ["fail", "database"] in [row[:2] for row in rows(unwell)]


def test_the_doctor_names_who_holds_a_port(gradnoise: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it can be ended."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        monkeypatch.setenv("GRADNOISE_PORT", str(holder.getsockname()[1]))
        monkeypatch.setenv("GRADNOISE_URL", f"http://127.0.0.1:{ports.free('127.0.0.1')}")
        assert f"in use by process {os.getpid()}" in gradnoise("doctor").stdout


def test_tokens_are_made_listed_and_revoked(
    serve: Any, worker: Any, gradnoise: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token alone is printed, so that a script can keep it."""
    monkeypatch.setenv("GRADNOISE_URL", serve(admin_token=SecretStr("the-admin-token")).url)
    refused = gradnoise("token", "list")
    assert refused.exit_code == 1
    assert "token" in refused.stderr
    monkeypatch.setenv("GRADNOISE_TOKEN", "the-admin-token")
    made = gradnoise("token", "create", "laptop", "--owner", "ada", "--scope", "read", "--days", 0)
    assert gradnoise("list", "--token", made.stdout.strip()).exit_code == 0
    assert rows(gradnoise("token", "list"))[1] == ["laptop", "ada", "read", "-"]
    assert gradnoise("token", "revoke", "laptop").exit_code == 0
    assert gradnoise("list", "--token", made.stdout.strip()).exit_code == 1


def test_the_database_is_made_on_request(
    gradnoise: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And doing it again changes nothing."""
    monkeypatch.delenv("GRADNOISE_DATABASE_URL", raising=False)
    made, again = (
        gradnoise("db", "upgrade", "--home", tmp_path / "new", "--json") for _ in range(2)
    )
    assert made.exit_code == again.exit_code == 0
    assert json.loads(made.stdout) == json.loads(again.stdout)
    assert (tmp_path / "new" / "gradnoise.db").exists()


def test_the_service_that_runs_from_the_home_folder_is_found(
    api: Any, gradnoise: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --url, the commands speak to the service that was started here, whatever its port."""
    monkeypatch.delenv("GRADNOISE_URL")
    monkeypatch.setenv("GRADNOISE_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "running.json").write_text(
        json.dumps({"pid": 1, "url": api.url}), encoding="utf-8"
    )
    assert gradnoise("list").exit_code == 0


def on_a_terminal(*arguments: str, env: dict[str, str]) -> str:
    """Run the command on a terminal of its own and return everything it printed."""
    terminal, side = pty.openpty()
    command = [sys.executable, "-c", "from gradnoise_service.cli import main; main()", *arguments]
    process = subprocess.Popen(
        command,
        stdin=side,
        stdout=side,
        stderr=side,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "120"} | env,
    )
    os.close(side)
    with open(terminal, "rb", buffering=0) as screen:
        printed = b"".join(_until_closed(screen))
    assert process.wait() in (0, 1)
    return printed.decode()


def _until_closed(screen: Any) -> Iterator[bytes]:
    try:
        while chunk := screen.read(4096):
            yield chunk
    except OSError:  # how Linux says that the other side has gone
        return


def test_a_terminal_gets_colours_and_bars(api: Any, gradnoise: Run, study_file: Path) -> None:
    """Tables have headings in bold, progress has bars; with NO_COLOR there is no colour."""
    gradnoise("submit", study_file)
    gradnoise("cancel", 1)
    env = {"GRADNOISE_URL": api.url}
    assert re.search(r"\x1b\[[0-9;]*m", on_a_terminal("list", env=env))
    assert "━" in on_a_terminal("watch", "1", env=env)
    assert not re.search(r"\x1b\[[0-9;]*3\dm", on_a_terminal("list", env=env | {"NO_COLOR": "1"}))


def test_help_loads_neither_server_nor_science() -> None:
    """`gradnoise --help` answers at once, because it loads almost nothing."""
    program = """
import sys
from gradnoise_service.cli import main
sys.argv = ["gradnoise", "--help"]
try:
    main()
except SystemExit:
    pass
heavy = {"torch", "ray", "optuna", "sqlalchemy", "fastapi", "numpy", "scipy", "pydantic", "httpx2", "yaml"} & set(sys.modules)
assert not heavy, heavy
"""
    assert (
        subprocess.run(
            [sys.executable, "-c", program], stdout=subprocess.DEVNULL, check=False
        ).returncode
        == 0
    )
