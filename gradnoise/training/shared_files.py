"""Files in a folder, or at a URL of fsspec such as `s3://bucket/folder`."""

import contextlib
import secrets
from collections.abc import Iterator
from typing import Any, BinaryIO


def located(url: str, path: str) -> tuple[Any, str]:
    """Return the file system of a folder or URL, and the path in it of what lies there.

    Args:
        url: The folder or URL.
        path: Relative to it.
    """
    import fsspec  # type: ignore[import-untyped]  # one of torch's requirements

    system, root = fsspec.core.url_to_fs(url)
    return system, f"{root.rstrip('/')}/{path}"


@contextlib.contextmanager
def replacing(url: str, path: str) -> Iterator[BinaryIO]:
    """Open a file that takes the place of another once the block has ended.

    If it does not end, the other one stays. Arguments as of `located`.
    """
    system, target = located(url, path)
    folder = target.rpartition("/")[0]
    unfinished = f"{folder}/.{secrets.token_hex(8)}"
    system.makedirs(folder, exist_ok=True)
    try:
        with system.open(unfinished, "wb") as file:
            yield file
        system.mv(unfinished, target)
    except BaseException:
        with contextlib.suppress(Exception):  # what went wrong before is raised
            system.rm(unfinished)
        raise


def delete(url: str, path: str) -> None:
    """Delete a file, if it is there; arguments as of `located`."""
    system, target = located(url, path)
    with contextlib.suppress(FileNotFoundError):
        system.rm(target)
