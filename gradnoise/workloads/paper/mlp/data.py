"""The data sets: handwritten digits, MNIST and Fashion-MNIST, each in three fixed parts and with
inputs in [0, 1].

MNIST and Fashion-MNIST are the four original IDX files each. They are looked for in
`$GRADNOISE_DATA/mnist` and `$GRADNOISE_DATA/fashion-mnist`, then in the user's cache, and
downloaded into it at last; each must have the SHA-256 that stands here.
"""

import functools
import gzip
import hashlib
import os
import struct
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gradnoise._streams import permutation
from gradnoise.workloads.base import Batch, Splits

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
SHA256 = {
    "mnist": {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
}


class DataUnavailableError(RuntimeError):
    """A data file is neither here nor can it be downloaded, or it is not the file that it should
    be.
    """


@functools.cache
def images(name: str) -> Splits:
    """Return a data set as (inputs, labels): inputs float32 in [0, 1], one flat row an image;
    labels int64 from 0 to 9.

    Args:
        name: `digits` (8x8, 1,200 / 297 / 300 images, scikit-learn's 1,797 in a fixed random
            order), or `mnist` or `fashion-mnist` (28x28, 50,000 / 10,000 / 10,000: the last 10,000
            training images are for validation, the test images are the official ones).

    Raises:
        DataUnavailableError: If a file cannot be had, or its checksum is wrong.
    """
    if name == "digits":
        return _digits()
    inputs, labels = (
        _idx(name, "train-images-idx3-ubyte.gz").reshape(60_000, -1),
        _idx(name, "train-labels-idx1-ubyte.gz"),
    )
    test = (
        _idx(name, "t10k-images-idx3-ubyte.gz").reshape(10_000, -1),
        _idx(name, "t10k-labels-idx1-ubyte.gz"),
    )
    n = N_TRAIN[name]
    return Splits(
        train=_batch(inputs[:n], labels[:n], 255),
        validation=_batch(inputs[n:], labels[n:], 255),
        test=_batch(test[0], test[1], 255),
    )


def file(dataset: str, name: str) -> Path:
    """Return the path of a data file whose checksum is right.

    Raises:
        DataUnavailableError: If the file cannot be had, or the one in `GRADNOISE_DATA` has another
            checksum.
    """
    expected = SHA256[dataset][name]
    folder = own_folder(dataset)
    if folder and (path := folder / name).exists():
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected:
            raise DataUnavailableError(
                f"{path} is not the file it should be: its SHA-256 is {found}, not {expected}. "
                "Replace or remove it."
            )
        return path
    remedy = f"put {', '.join(SHA256[dataset])} into a folder {dataset}/"
    urls = [mirror + name for mirror in MIRRORS[dataset]]
    return (
        fetch(
            f"{name} of {dataset}",
            urls,
            looked_in=folder,
            into=dataset,
            file=name,
            sha256=expected,
            remedy=remedy,
        )
        / name
    )


def own_folder(*parts: str) -> Path | None:
    """Return a folder of `GRADNOISE_DATA`, None where that is not set."""
    folder = os.environ.get("GRADNOISE_DATA")
    return Path(folder, *parts) if folder else None


def fetch(
    what: str,
    urls: Sequence[str],
    *,
    looked_in: Path | None,
    into: str,
    file: str,
    remedy: str,
    sha256: str | None = None,
    members: Sequence[str] = (),
) -> Path:
    """Return the folder of the user's cache that holds a file, downloaded where it is not there
    yet.

    Args:
        what: What is wanted, for the errors.
        urls: Where the file is, in the order in which they are tried.
        looked_in: The folder of `GRADNOISE_DATA` that does not hold it, for the errors.
        into: The folder of the cache.
        file: The file's name there.
        remedy: What a person who has it should do with it, for the errors.
        sha256: The file's checksum; None where it is an archive whose members are checked.
        members: What to unpack of an archive; a broken archive is not kept.

    Raises:
        DataUnavailableError: If no address has it, or what they have is not what it should be.
    """
    sought = looked_in or "GRADNOISE_DATA, which is not set"
    try:
        import pooch  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise DataUnavailableError(
            f"{what} is not in {sought}, and pooch to download it is not installed: "
            "gradnoise[data]."
        ) from None
    pooch.get_logger().setLevel("ERROR")  # it warns where it is given no checksum
    cache = Path(pooch.os_cache("gradnoise"), into)
    unpack = pooch.Untar(members=list(members), extract_dir=".") if members else None
    faults = []
    for url in urls:
        try:
            pooch.retrieve(url, known_hash=sha256, fname=file, path=cache, processor=unpack)
            return cache
        # requests' are OSErrors; ValueError: a wrong checksum
        except (OSError, ValueError, KeyError, tarfile.TarError) as error:
            if members:
                (cache / file).unlink(missing_ok=True)
            faults.append(f"{url}: {error}")
    raise DataUnavailableError(
        f"{what} cannot be had. It was looked for in {sought}, then in {cache}, then at "
        f"{'; '.join(faults)}. "
        f"To provide it, {remedy} and name that folder's parent in GRADNOISE_DATA."
    )


def _idx(dataset: str, name: str) -> npt.NDArray[np.uint8]:
    content = gzip.decompress(file(dataset, name).read_bytes())
    rank = content[3]
    shape = struct.unpack(f">{rank}I", content[4 : 4 + 4 * rank])
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * rank).reshape(shape)


def _digits() -> Splits:
    try:
        from sklearn.datasets import load_digits  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise DataUnavailableError(
            "digits come with scikit-learn, which is not installed: gradnoise[data]."
        ) from None
    inputs, labels = load_digits(return_X_y=True)
    order = permutation(DIGITS_SPLIT_SEED, "split", 0, len(labels)).numpy()
    train, validation, test = (
        _batch(inputs[part], labels[part], 16)
        for part in np.split(order, [N_TRAIN["digits"], 1_497])
    )
    return Splits(train=train, validation=validation, test=test)


def _batch(inputs: npt.NDArray[Any], labels: npt.NDArray[Any], largest: int) -> Batch:
    return torch.from_numpy(inputs.astype(np.float32) / np.float32(largest)), torch.from_numpy(
        labels.astype(np.int64)
    )
