"""Examples are written and run; mistakes in a file are shown before any trial."""

import json
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

import files_in_process
from cli_output import rows
from gradnoise_service.local import sources

Run = Callable[..., Result]

FAULTY = """
from dataclasses import dataclass

import time
import torch
from gradnoise.workloads import function, option


@dataclass(frozen=True, kw_only=True)
class Options:
    fault: str = option("none", "What goes wrong.")


@function(metrics={"error": "minimize"}, options=Options)
def train(trial):
    fault = trial.options.fault
    weight = torch.nn.Parameter(torch.ones(()))
    lr = 1.0 if fault == "unread" else trial.params["lr"]
    optimizer = torch.optim.SGD([("w", weight)], lr=lr)
    if fault != "unattached":
        trial.attach(optimizer)
    if fault == "attached twice":
        trial.attach(optimizer)
    if fault == "two optimizers":
        optimizer = torch.optim.SGD([("w", weight)], lr=0.1)
    if fault == "no data":
        open("missing.csv")
    if fault == "no parameter":
        trial.params["momentum"]
    if fault == "ends early":
        return
    for epoch in range(1, trial.budget_epochs + 1):
        optimizer.zero_grad()
        weight.square().backward()
        optimizer.step()
        error = float("nan") if fault == "diverges" else weight.detach()
        if fault == "draws":
            error = time.perf_counter()
        if fault == "out of order":
            epoch += 1
        if fault == "no metric":
            trial.report(epoch=epoch, validation_eror=error, test_error=error)
        trial.report(epoch=epoch, validation_error=error, test_error=error)
"""


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "answers", files_in_process.answers)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a function whose option names its fault."""
    file = tmp_path_factory.mktemp("faulty") / "train.py"
    file.write_text(FAULTY, encoding="utf-8")
    return file


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["function", "workload"])
def test_an_example_passes_its_check_and_is_not_overwritten(
    gradnoise: Run, tmp_path: Path, kind: str
) -> None:
    written = gradnoise("new", kind, "example")
    assert written.exit_code == 0
    checked = gradnoise("check", "example/train.py", "--arm", "noisy:annealed eta=0.001 gamma=1")
    assert checked.exit_code == 0, checked.output
    found = {row[1]: row[0] for row in rows(checked)}
    assert found == {"arm baseline": "ok", "arm noisy": "ok", "randomness": "ok", "stacking": "ok"}
    together = "as one model" in checked.stdout
    assert together == (kind == "workload")
    before = (tmp_path / "example" / "train.py").read_text()
    again = gradnoise("new", kind, "example")
    assert (again.exit_code, "exists already" in again.stderr) == (1, True)
    assert (tmp_path / "example" / "train.py").read_text() == before


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no data", "train.py, line 27: FileNotFoundError"),
        ("attached twice", "train.py, line 23: ValueError: this SGD is attached already"),
        ("two optimizers", "the arm's techniques reached no update"),
        ("unattached", "the arm's techniques reached no update"),
        ("no metric", "must give every declared metric, but it lacks validation_error"),
        ("out of order", "epoch must be 1, of 2 in all, but got epoch=2"),
        ("ends early", "the function ended after 0 of 2 reports"),
        ("no parameter", "train.py, line 29: KeyError: 'momentum'"),
    ],
)
def test_a_mistake_in_a_function_is_an_arm_that_cannot_be_trained(
    gradnoise: Run, faulty: Path, tmp_path: Path, fault: str, message: str
) -> None:
    run = gradnoise("run", faulty, "--option", f"fault={fault}")
    error = " ".join(run.stderr.split())
    assert (run.exit_code, message in error) == (1, True), error
    assert not (tmp_path / ".gradnoise").exists()  # no service was started


def test_a_check_shows_the_error_with_its_traceback(gradnoise: Run, faulty: Path) -> None:
    checked = gradnoise("check", faulty, "--option", "fault=no data")
    assert checked.exit_code == 1
    [(state, arm, detail)] = rows(checked)
    assert (state, arm) == ("fail", "arm baseline")
    assert "No such file or directory: 'missing.csv'" in detail
    assert f'File "{faulty}", line 27, in train' in checked.stderr


def test_a_check_warns_of_what_trains_but_cannot_be_right(gradnoise: Run, faulty: Path) -> None:
    def warned(fault: str) -> dict[str, str]:
        loud = "noisy:annealed eta=1e9 gamma=0"
        found = rows(gradnoise("check", faulty, "--option", f"fault={fault}", "--arm", loud))
        return {row[1]: row[2] for row in found if row[0] == "warn"}

    assert "measured different values" in warned("draws")["randomness"]
    assert warned("diverges")["arm baseline"].startswith("diverged")
    assert warned("unread")["arm baseline"] == "the function does not read lr"
    drowned = warned("none")["arm noisy"]
    assert drowned.startswith("with its values (eta 1e+09, gamma 0) the noise is ")


def test_faults_of_file_options_and_study_come_before_any_trial(
    gradnoise: Run, faulty: Path, tmp_path: Path
) -> None:
    assert "does not exist" in gradnoise("run", "train.py").stderr
    form = gradnoise("run", faulty, "--set", "lr=fast..slow")
    assert (form.exit_code, "a range is LOW..HIGH" in form.stderr) == (2, True)
    unknown = gradnoise("check", faulty, "--arm", "odd:odd_one")
    assert (unknown.exit_code, "no technique named 'odd_one'" in unknown.stderr) == (1, True)
    illegal = gradnoise("check", faulty, "--set", "lr=1..0.1")
    assert (illegal.exit_code, "low must be below high" in illegal.stderr) == (1, True)
    (tmp_path / "none.py").write_text(textwrap.dedent("def train(trial): ..."))
    nothing = gradnoise("check", "none.py")
    assert (nothing.exit_code, "declares nothing to train" in nothing.stderr) == (1, True)


def test_the_check_is_json_on_request(gradnoise: Run, faulty: Path) -> None:
    checked = gradnoise("check", faulty, "--arm", "quiet:wide", "--json")
    values = json.loads(checked.stdout)
    assert set(values["values"]) == {"baseline", "quiet"}
    assert (values["repeats"], values["error"]) == (True, "")
