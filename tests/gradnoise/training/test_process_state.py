"""What a block changes of the process is restored at its end."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gradnoise.training.process_state import PARTS, unchanged_process


@pytest.mark.parametrize(
    "change",
    [
        lambda: torch.set_default_dtype(torch.float64),
        lambda: torch.set_default_device("meta"),
        lambda: torch.set_num_threads(torch.get_num_threads() + 1),
        lambda: torch.use_deterministic_algorithms(True, warn_only=True),
        lambda: torch.set_grad_enabled(not torch.is_grad_enabled()),
        lambda: np.seterr(all="ignore"),
        lambda: os.chdir("/"),
        lambda: os.environ.update(LEAKED="\udcff", HOME="changed"),
        lambda: os.environ.pop("HOME"),
        lambda: warnings.simplefilter("ignore"),
    ],
)
def test_a_change_is_undone_also_after_an_exception(change: Callable[[], object]) -> None:
    def broken() -> None:
        change()
        assert [read() for read, _ in PARTS] != before
        raise ZeroDivisionError

    before = [read() for read, _ in PARTS]
    with pytest.raises(ZeroDivisionError), unchanged_process():
        broken()
    assert [read() for read, _ in PARTS] == before


def test_a_folder_that_was_deleted_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    with unchanged_process():
        gone.rmdir()
    assert torch.get_default_dtype() == torch.float32
