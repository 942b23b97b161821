"""A source is imported under names that are the same in every process."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from gradnoise.workloads.function import FunctionWorkload
from gradnoise_service.domain.source import Source
from gradnoise_workers.source.opening import opened

TEXT = """
from gradnoise.workloads import function

@function(metrics={"accuracy": "maximize"})
def own(trial):
    "A function."
"""


@pytest.mark.parametrize(
    ("file", "name"), [("train.py", "train"), ("json.py", "json_"), ("torch.py", "torch_")]
)
def test_the_name_of_a_module_does_not_depend_on_what_was_imported_before(
    file: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ModuleType("train")
    monkeypatch.setitem(sys.modules, "train", before)
    source = Source(name=file, files={file: TEXT}, folder=str(tmp_path), announced={})
    with opened(source) as declared:
        [function] = declared.workloads.values()
        assert isinstance(function, FunctionWorkload)
        assert function.train.__module__ == name
    assert sys.modules["train"] is before
    assert sys.modules["json"].__name__ == "json"
