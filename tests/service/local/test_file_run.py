"""`gradnoise run` from start to end: from a file on the disk to a verdict and a report."""

import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from processes import with_environment

TRAIN = '''
from pathlib import Path

import torch

from gradnoise.workloads import function
from shapes import line


@function(metrics={"error": "minimize"})
def fit(trial):
    """Fit a line."""
    if trial.phase == "confirm":  # an edit while the study runs
        (Path(__file__).parent / "shapes.py").write_text("raise SystemExit('edited')")
    x, y = line()
    model = torch.nn.Linear(1, 1)
    optimizer = trial.optimizer(model)
    for epoch in range(1, trial.budget_epochs + 1):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        trial.report(epoch=epoch, validation_error=loss.detach(), test_error=loss.detach())
'''
SHAPES = """
from pathlib import Path

import numpy as np
import torch


def line():
    values = np.loadtxt(Path(__file__).parent / "points.csv", delimiter=",")
    x, y = torch.tensor(values, dtype=torch.float32).T[:, :, None]
    return x, y
"""
VERDICT = r"^verdict\t(helps|hurts|no_difference|undecided)\t"
OPTIONS = ("--epochs", "2", "--trials", "2", "--seeds", "6", "--set", "lr=0.1..0.5")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_file_leads_to_a_verdict_without_installation(tmp_path: Path) -> None:
    """It may import others and read data beside it. An edit while the study runs has no effect on
    it; an edited file is another study, on the service that runs. Its trials can be verified by the
    stored code.
    """
    (tmp_path / "train.py").write_text(TRAIN, encoding="utf-8")
    (tmp_path / "shapes.py").write_text(SHAPES, encoding="utf-8")
    (tmp_path / "points.csv").write_text("-1,-4\n0,-1\n1,2\n", encoding="utf-8")
    home = tmp_path / "home"
    gradnoise = [sys.executable, "-m", "gradnoise_service"]
    command = [*gradnoise, "run", tmp_path / "train.py", *OPTIONS, "--home", home]
    pipe = subprocess.PIPE
    with subprocess.Popen([*command, "--keep"], stdout=pipe, stderr=pipe, text=True) as first:
        assert first.stdout is not None
        lines = itertools.takewhile(lambda line: not line.startswith("Optuna"), first.stdout)
        shown = "".join(lines)
        assert re.search(VERDICT, shown, re.M), shown + str(first.communicate())
        assert re.search(r"^code\tshapes.py, train.py \(SHA-256 [0-9a-f]{12}\)$", shown, re.M)
        assert re.search(r"^smallest difference\t\S+ in error: ", shown, re.M)
        report = (home / "reports" / "train.html").read_text(encoding="utf-8")
        assert "train.py" in report
        (tmp_path / "shapes.py").write_text(SHAPES + "# edited\n", encoding="utf-8")
        environment = {**os.environ, "GRADNOISE_HOME": str(home)}
        environment.pop("GRADNOISE_URL", None)
        second = completed(command, environment)
        assert re.search(VERDICT, second.stdout, re.M)
        assert "The code of train.py has changed since study train (id 1)" in second.stderr
        assert (home / "reports" / "train-2.html").exists()
        verified = completed([*gradnoise, "verify", "train-2", "--trials", "2"], environment)
        first.send_signal(signal.SIGINT)
        assert "shapes.py changed after the study was submitted" in first.communicate()[1]
    assert re.search(r"^ok\thash of the code here\tthat of the study$", verified.stdout, re.M)
    assert len(re.findall(r"^ok\tconfirm \w+ 0\tidentical: ", verified.stdout, re.M)) == 2
    assert with_environment(f"GRADNOISE_HOME={home}") == {}


def completed(
    command: Sequence[str | Path], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Return a command that has ended without an error."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done
