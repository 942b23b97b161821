"""A user's file is read with what it imports; each mistake in it is one sentence and one hint."""

import inspect
import sys
import textwrap
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from gradnoise.techniques.registry import TECHNIQUES
from gradnoise.workloads.function import FunctionWorkload
from gradnoise.workloads.registry import WORKLOADS
from gradnoise_workers.source import SourceError, opened
from gradnoise_workers.source.reading import read

TRAIN = """
    from gradnoise.workloads import function

    @function(metrics={"accuracy": "maximize"})
    def train(trial):
        "Train."
"""
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A function that writes files, by their paths with `__` for `/`, and returns train.py.

    A name that ends in `__init` is that of a package's `__init__.py`.
    """

    def put(train: str, **others: str) -> Path:
        for name, text in {"train": train, **others}.items():
            file = tmp_path / f"{name.replace('__', '/').replace('/init', '/__init__')}.py"
            file.parent.mkdir(exist_ok=True)
            file.write_text(textwrap.dedent(text), encoding="utf-8")
        return tmp_path / "train.py"

    return put


def fault(path: Path, choice: str = "") -> SourceError:
    with pytest.raises(SourceError) as caught, read(path, choice):
        pass
    return caught.value


def test_a_file_announces_what_it_declares_and_is_forgotten_afterwards(write: Write) -> None:
    path = write(
        TRAIN
        + """
    import gradnoise
    from gradnoise.workloads import Contribution

    @gradnoise.technique
    def silent(loudness: float):
        return Contribution()
    """
    )
    with read(path) as found:
        assert "train" in WORKLOADS.names()
        assert "silent" in TECHNIQUES.names()
    assert (found.workload, found.source.name) == ("train", "train.py")
    [workload] = found.source.announced["workloads"]
    assert (workload["name"], workload["description"]) == ("train", "Train.")
    assert "silent" in workload["techniques"]
    assert [each["name"] for each in found.source.announced["techniques"]] == ["silent"]
    assert "train" not in WORKLOADS.names()
    assert "train" not in sys.modules


def test_the_modules_that_a_file_imports_are_part_of_it(write: Write) -> None:
    """Statements count at any depth, packages with and without __init__.py, and other imports."""
    path = write(
        "import importlib\nimport torch\nfrom nets.small import width\nimport losses\n"
        "importlib.import_module('found_by_name')\n"
        + textwrap.dedent(TRAIN)
        + "    from late import never\n",
        nets__small="from . import parts\nwidth = 3",
        nets__parts="",
        losses__init="from .cross import entropy",
        losses__cross="entropy = 1",
        found_by_name="",
        late="import found_by_name",
        unrelated="",
    )
    with read(path) as found:
        pass
    assert list(found.source.files) == [
        "found_by_name.py",
        "late.py",
        "losses/__init__.py",
        "losses/cross.py",
        "nets/parts.py",
        "nets/small.py",
        "train.py",
    ]


def test_the_stored_code_is_imported_whatever_the_files_contain_now(write: Write) -> None:
    path = write(
        "from pathlib import Path\nimport part\n" + textwrap.dedent(TRAIN) + "    part.fail()\n",
        part="def fail():\n    raise OSError('as stored')",
    )
    with read(path) as found:
        pass
    write("raise OSError('edited')", part="")
    with opened(found.source) as declared:
        workload = declared.workloads["train"]
        assert isinstance(workload, FunctionWorkload)
        module = sys.modules[workload.train.__module__]
        assert module.__file__ == str(path)
        assert Path.cwd() == path.parent
        assert "part.fail()" in inspect.getsource(workload.train)
        with pytest.raises(OSError, match="as stored") as caught:
            workload.train(None)  # type: ignore[arg-type]  # it raises before it uses the trial
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert [(frame.filename, frame.line) for frame in frames[-2:]] == [
        (str(path), "part.fail()"),
        (str(path.with_name("part.py")), "raise OSError('as stored')"),
    ]


def test_the_hash_of_a_source_is_that_of_names_and_texts(write: Write, tmp_path: Path) -> None:
    def hash_of(path: Path) -> str:
        with read(path) as found:
            return found.source.hash

    path = write("import part\n" + textwrap.dedent(TRAIN), part="x = 1")
    first = hash_of(path)
    (tmp_path / "other").mkdir()
    for name in ("train.py", "part.py"):
        (tmp_path / "other" / name).write_text((tmp_path / name).read_text())
    assert hash_of(tmp_path / "other" / "train.py") == first
    (tmp_path / "part.py").write_text("x = 2")
    assert hash_of(path) != first


def test_a_module_that_was_not_stored_is_named(write: Write) -> None:
    path = write(
        "import importlib\n"
        + textwrap.dedent(TRAIN)
        + "    importlib.import_module('chosen_' + 'later')\n",
        chosen_later="",
    )
    with read(path) as found:
        pass
    with opened(found.source) as declared, pytest.raises(ModuleNotFoundError, match="chosen_later"):
        declared.workloads["train"].train(None)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("def train(trial): ...", "train.py declares nothing to train.", "Decorate the function"),
        (
            textwrap.dedent(TRAIN) + "train_2 = function(metrics={'x': 'maximize'})(lambda t: 0)",
            "train.py declares 2 workloads: <lambda>, train.",
            "train.py:",
        ),
        ("import nowhere_at_all", "line 1: ModuleNotFoundError", "pip install nowhere_at_all"),
        ("x = (", "train.py, line 1: '(' was never closed: x = (", "Correct the line"),
        ("\n\nopen('data.csv')", "line 3: FileNotFoundError", "starts at the folder of the file"),
        ("import sys\nsys.exit(2)", "line 2: the file ends the program", "__main__"),
        ("1 / 0", "train.py, line 1: ZeroDivisionError: division by zero", "Correct the line"),
        (
            "from gradnoise.workloads import function\n@function(metrics={})\ndef f(t): ...",
            "train.py, line 2: ValueError: metrics must name at least one metric",
            "Correct the line",
        ),
        (
            textwrap.dedent(TRAIN).replace("metrics=", "name='mlp', metrics="),
            "The workload train has the name 'mlp', and one of this name is installed.",
            "Give it another name",
        ),
        (
            "from dataclasses import dataclass\nfrom gradnoise.workloads import function, option\n"
            "@dataclass\nclass Options:\n    rate: float = option(lambda: 3, 'A function.')\n"
            "@function(metrics={'x': 'maximize'}, options=Options)\ndef f(trial): ...",
            "cannot be stored as JSON",
            "choose among them by a name",
        ),
        ("import queue", "imports queue, which is both queue.py and an installed", "Rename queue"),
    ],
)
def test_each_mistake_is_a_sentence_with_a_hint(
    write: Write, text: str, message: str, hint: str
) -> None:
    found = fault(write(text, queue=""))
    assert message in found.message
    assert hint in found.hint


def test_a_choice_must_be_declared(write: Write) -> None:
    path = write(textwrap.dedent(TRAIN))
    with read(path, "train") as found:
        assert found.workload == "train"
    found_fault = fault(path, "tarin")
    assert found_fault.message == "train.py declares no workload named 'tarin'."
    assert found_fault.hint == "It declares train."


@pytest.mark.parametrize(
    ("name", "message"), [("train.ipynb", "is not a Python file"), ("none.py", "does not exist")]
)
def test_a_file_must_exist_and_be_python(tmp_path: Path, name: str, message: str) -> None:
    assert message in fault(tmp_path / name).message


def test_a_file_may_have_any_name(write: Write, tmp_path: Path) -> None:
    path = write(textwrap.dedent(TRAIN))
    for name in ("platform.py", "my-train.py"):
        with read(path.rename(tmp_path / name)) as found:
            assert found.workload == "train"
        path = tmp_path / name


def test_a_source_with_too_much_code_is_refused(write: Write) -> None:
    path = write("#" * 500_001 + textwrap.dedent(TRAIN))
    assert "Too much code: the files have 500,1" in fault(path).message
