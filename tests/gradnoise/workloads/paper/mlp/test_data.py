import gzip
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gradnoise.workloads.paper.downloads import DataUnavailableError
from gradnoise.workloads.paper.mlp import data

pytest.importorskip("pooch")
pytest.importorskip("sklearn")

CONTENT = b"content of the file"
NAME = "train-labels-idx1-ubyte.gz"
Serve = Callable[[str, bytes], str]


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of data sets, $GRADNOISE_DATA; without it, tests that need it are skipped."""
    folder = Path(os.environ.get("GRADNOISE_DATA", ""))
    if not (folder / "mnist").is_dir():
        pytest.skip(
            "needs a folder mnist/ in $GRADNOISE_DATA, which is "
            f"{os.environ.get('GRADNOISE_DATA')!r}"
        )
    return folder


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without data and without a network; returns its cache folder."""
    monkeypatch.delenv("GRADNOISE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(
        data,
        "MIRRORS",
        dict.fromkeys(data.MIRRORS, ("http://127.0.0.1:9/", "http://127.0.0.1:9/again/")),
    )
    return tmp_path / "cache" / "gradnoise"


@pytest.fixture
def expected_content(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make CONTENT the right content of MNIST's training labels."""
    sums = {NAME: hashlib.sha256(CONTENT).hexdigest()}
    monkeypatch.setattr(data, "SHA256", {"mnist": sums})


def test_digits_are_split_into_disjoint_parts_that_contain_all() -> None:
    from sklearn.datasets import load_digits

    splits = data.images("digits")
    parts = (splits.train, splits.validation, splits.test)
    assert [tuple(inputs.shape) for inputs, _ in parts] == [(1_200, 64), (297, 64), (300, 64)]
    rows = np.concatenate(
        [np.column_stack([(inputs * 16).numpy(), labels.numpy()]) for inputs, labels in parts]
    )
    expected = np.column_stack(load_digits(return_X_y=True))
    assert np.array_equal(
        np.sort(rows.view([("", rows.dtype)] * 65), axis=0),
        np.sort(expected.astype(rows.dtype).view([("", rows.dtype)] * 65), axis=0),
    )


def test_digits_are_read_without_importing_scikit_learn() -> None:
    """The import takes as long as that of torch, in every process that trains."""
    program = (
        "import sys; from gradnoise.workloads.paper.mlp import data; data.images('digits'); "
        "print({'sklearn', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.strip() == b"set()"


def test_without_scikit_learn_the_error_names_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    data.images.cache_clear()
    with pytest.raises(DataUnavailableError, match=r"install gradnoise\[data\]"):
        data.images("digits")


def test_digits_are_scaled_typed_and_of_every_class_in_each_part() -> None:
    splits = data.images("digits")
    for inputs, labels in (splits.train, splits.validation, splits.test):
        assert (inputs.dtype, labels.dtype) == (torch.float32, torch.int64)
        assert float(inputs.min()) == 0.0
        assert float(inputs.max()) == 1.0
        assert set(labels.tolist()) == set(range(10))


def test_the_digits_split_stays_unchanged() -> None:
    """Results of studies must keep their meaning: these are the first labels of each part."""
    splits = data.images("digits")
    assert [part[1][:6].tolist() for part in (splits.train, splits.validation, splits.test)] == [
        [3, 9, 5, 9, 0, 1],
        [2, 7, 7, 7, 6, 5],
        [7, 5, 8, 1, 4, 4],
    ]


def test_data_are_read_once() -> None:
    assert data.images("digits") is data.images("digits")


@pytest.mark.parametrize(
    ("name", "first", "mean"),
    [("mnist", (5, 7), 0.1307), ("fashion-mnist", (9, 9), 0.2860)],
    ids=["mnist", "fashion-mnist"],
)
def test_the_real_images_have_the_documented_splits(
    name: str, first: tuple[int, int], mean: float, data_folder: Path
) -> None:
    """Published facts: 60,000 and 10,000 images, the first labels, the mean training pixel."""
    splits = data.images(name)
    assert [
        tuple(inputs.shape) for inputs, _ in (splits.train, splits.validation, splits.test)
    ] == [(n, 784) for n in (50_000, 10_000, 10_000)]
    assert (int(splits.train[1][0]), int(splits.test[1][0])) == first
    labels = gzip.decompress((data_folder / name / NAME).read_bytes())[8:]
    assert bytes(splits.train[1].tolist()) == labels[:50_000]
    assert bytes(splits.validation[1].tolist()) == labels[50_000:]
    together = torch.cat([splits.train[0], splits.validation[0]])
    assert float(together.double().mean()) == pytest.approx(mean, abs=5e-5)


def test_the_data_folder_is_used_before_any_download(
    offline: Path, expected_content: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRADNOISE_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / NAME).write_bytes(CONTENT)
    assert data.file("mnist", NAME) == tmp_path / "mnist" / NAME


def test_the_error_for_a_corrupt_file_names_both_checksums(
    offline: Path, expected_content: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRADNOISE_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / NAME).write_bytes(CONTENT[:-1])
    with pytest.raises(DataUnavailableError) as caught:
        data.file("mnist", NAME)
    for fact in (
        str(tmp_path / "mnist" / NAME),
        hashlib.sha256(CONTENT).hexdigest(),
        hashlib.sha256(CONTENT[:-1]).hexdigest(),
    ):
        assert fact in str(caught.value)


@pytest.mark.parametrize("folder_is_set", [False, True])
def test_without_a_network_the_error_names_the_file_the_attempts_and_a_remedy(
    offline: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder_is_set: bool
) -> None:
    if folder_is_set:
        monkeypatch.setenv("GRADNOISE_DATA", str(tmp_path))
    data.images.cache_clear()
    with pytest.raises(DataUnavailableError) as caught:
        data.images("mnist")
    data.images.cache_clear()
    sought = f"{tmp_path}/mnist" if folder_is_set else "GRADNOISE_DATA, which is not set"
    for fact in (
        "train-images-idx3-ubyte.gz of mnist",
        sought,
        str(offline / "mnist"),
        "http://127.0.0.1:9/train-images",
        "again/train-images",
    ):
        assert fact in str(caught.value)
    for name in data.SHA256["mnist"]:
        assert name in str(caught.value).split("To provide it")[1]


def test_a_download_is_checked_and_kept(
    offline: Path, expected_content: None, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first mirror is unreachable, the second serves the file; a second call needs none."""
    monkeypatch.setattr(data, "MIRRORS", {"mnist": ("http://127.0.0.1:9/", serve(NAME, CONTENT))})
    path = data.file("mnist", NAME)
    assert path == offline / "mnist" / NAME
    assert path.read_bytes() == CONTENT
    monkeypatch.setattr(data, "MIRRORS", {"mnist": ("http://127.0.0.1:9/",)})
    assert data.file("mnist", NAME) == path


def test_a_corrupt_download_raises_an_error_and_is_deleted(
    offline: Path, expected_content: None, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "MIRRORS", {"mnist": (serve(NAME, CONTENT + b"!"),)})
    with pytest.raises(DataUnavailableError, match="hash"):
        data.file("mnist", NAME)
    assert not [path for path in offline.rglob("*") if path.is_file()]


def test_a_corrupt_file_in_the_cache_is_downloaded_again(
    offline: Path, expected_content: None, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    (offline / "mnist").mkdir(parents=True)
    (offline / "mnist" / NAME).write_bytes(b"half a fi")
    monkeypatch.setattr(data, "MIRRORS", {"mnist": (serve(NAME, CONTENT),)})
    assert data.file("mnist", NAME).read_bytes() == CONTENT
