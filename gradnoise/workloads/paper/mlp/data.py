"""The images: handwritten digits, MNIST and Fashion-MNIST, in fixed splits with inputs in [0, 1].

MNIST and Fashion-MNIST are the four original IDX files each, from `$GRADNOISE_DATA/mnist` and
`$GRADNOISE_DATA/fashion-mnist`, from the user's cache, or downloaded. SHA256 holds their checksums.
"""

import functools
import gzip
import hashlib
import importlib.util
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gradnoise._streams import permutation
from gradnoise.workloads.base import Batch, Splits
from gradnoise.workloads.paper.downloads import DataUnavailableError, data_folder, fetch

N_CLASSES = 10
N_TRAIN = {"digits": 1_200, "mnist": 50_000, "fashion-mnist": 50_000}
DIGITS_SPLIT_SEED = 1797

MIRRORS = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    "fashion-mnist": (
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
}
FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
SHA256 = {  # by file name
    "mnist": dict(
        zip(
            FILES,
            (
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
            strict=True,
        )
    ),
    "fashion-mnist": dict(
        zip(
            FILES,
            (
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
            strict=True,
        )
    ),
}


@functools.cache
def first_images(dataset: str, n_train: int) -> Splits:
    """Return a data set with only the first n_train training images."""
    splits = images(dataset)
    inputs, labels = splits.train
    return Splits(
        train=(inputs[:n_train], labels[:n_train]), validation=splits.validation, test=splits.test
    )


@functools.cache
def images(name: str) -> Splits:
    """Return a data set as (inputs, labels).

    Inputs are float32 in [0, 1], a flat row per image; labels are int64 from 0 to 9.

    Args:
        name: `digits` (scikit-learn's 1,797 images of 8x8 in a fixed random order: 1,200 / 297 /
            300), or `mnist` or `fashion-mnist` (28x28, 50,000 / 10,000 / 10,000: the last 10,000
            training images are for validation, the test images are the official ones).

    Raises:
        DataUnavailableError: If a file is missing and cannot be downloaded, or its checksum is
            wrong.
    """
    if name == "digits":
        return _digits()
    inputs = _idx(name, "train-images-idx3-ubyte.gz").reshape(60_000, -1)
    labels = _idx(name, "train-labels-idx1-ubyte.gz")
    test_inputs = _idx(name, "t10k-images-idx3-ubyte.gz").reshape(10_000, -1)
    test_labels = _idx(name, "t10k-labels-idx1-ubyte.gz")
    n = N_TRAIN[name]
    return Splits(
        train=_batch(inputs[:n], labels[:n], 255),
        validation=_batch(inputs[n:], labels[n:], 255),
        test=_batch(test_inputs, test_labels, 255),
    )


def file(dataset: str, name: str) -> Path:
    """Return the path of a data file with the right checksum.

    Raises:
        DataUnavailableError: If the file is missing and cannot be downloaded, or its checksum is
            wrong.
    """
    expected = SHA256[dataset][name]
    folder = data_folder(dataset)
    if folder and (path := folder / name).exists():
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected:
            raise DataUnavailableError(
                f"{path} has a wrong content: its SHA-256 is {found}, not {expected}. Replace or "
                "delete it."
            )
        return path
    cache = fetch(
        f"{name} of {dataset}",
        [mirror + name for mirror in MIRRORS[dataset]],
        looked_in=folder,
        into=dataset,
        file=name,
        sha256=expected,
        remedy=f"put {', '.join(SHA256[dataset])} into a folder {dataset}/",
    )
    return cache / name


def _idx(dataset: str, name: str) -> npt.NDArray[np.uint8]:
    content = gzip.decompress(file(dataset, name).read_bytes())
    rank = content[3]
    shape = struct.unpack(f">{rank}I", content[4 : 4 + 4 * rank])
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * rank).reshape(shape)


def _digits() -> Splits:
    # the file alone: to import scikit-learn takes as long as to import torch
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataUnavailableError(
            "digits are part of scikit-learn, which is not installed: install gradnoise[data]."
        )
    with gzip.open(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz") as lines:
        table = np.loadtxt(lines, delimiter=",")
    inputs, labels = table[:, :-1], table[:, -1]
    order = permutation(DIGITS_SPLIT_SEED, "split", 0, len(labels)).numpy()
    train, validation, test = (
        _batch(inputs[part], labels[part], 16)
        for part in np.split(order, [N_TRAIN["digits"], 1_497])
    )
    return Splits(train=train, validation=validation, test=test)


def _batch(inputs: npt.NDArray[Any], labels: npt.NDArray[Any], largest: int) -> Batch:
    scaled = inputs.astype(np.float32) / np.float32(largest)
    return torch.from_numpy(scaled), torch.from_numpy(labels.astype(np.int64))
