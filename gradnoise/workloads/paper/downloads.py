"""Files of data sets, from `GRADNOISE_DATA`, from the user's cache, or downloaded."""

import os
import tarfile
from collections.abc import Sequence
from pathlib import Path


class DataUnavailableError(RuntimeError):
    """A data file is missing and cannot be downloaded, or its checksum is wrong."""


def data_folder(*parts: str) -> Path | None:
    """Return a folder inside `GRADNOISE_DATA`; None if that variable is not set."""
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
    """Return the folder of the user's cache that holds a file, which is downloaded if necessary.

    Args:
        what: The name of the file's content, for error messages.
        urls: The file's addresses, in the order of the attempts.
        looked_in: The folder of `GRADNOISE_DATA` without the file, for error messages.
        into: The folder of the cache.
        file: The file's name in that folder.
        remedy: How a person can provide the file, for error messages.
        sha256: The file's checksum; None for an archive whose members are checked by the caller.
        members: The members to unpack, if the file is an archive; a broken archive is deleted.

    Raises:
        DataUnavailableError: If no address has the file, or its content is wrong.
    """
    looked_in_text = looked_in or "GRADNOISE_DATA, which is not set"
    try:
        import pooch  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise DataUnavailableError(
            f"{what} is not in {looked_in_text}, and pooch, which downloads it, is not installed: "
            "install gradnoise[data]."
        ) from None
    pooch.get_logger().setLevel("ERROR")  # it warns about files without a checksum
    cache = Path(pooch.os_cache("gradnoise"), into)
    unpack = pooch.Untar(members=list(members), extract_dir=".") if members else None
    faults = []
    for url in urls:
        try:
            pooch.retrieve(url, known_hash=sha256, fname=file, path=cache, processor=unpack)
            return cache
        # OSError: of requests; ValueError: a wrong checksum
        except (OSError, ValueError, KeyError, tarfile.TarError) as error:
            if members:
                (cache / file).unlink(missing_ok=True)
            faults.append(f"{url}: {error}")
    raise DataUnavailableError(
        f"{what} is not available: not in {looked_in_text}, not in {cache}, and not at "
        f"{'; '.join(faults)}. To provide it, {remedy}, and set GRADNOISE_DATA to that folder's "
        "parent."
    )
