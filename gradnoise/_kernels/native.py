"""The CPU kernel as machine code: compiled by numba once on a machine, then read from a file.

To import numba and to read its own cache takes about a second, to load the code by llvmlite, which
numba requires, a tenth of that. The file is named after a hash of the kernel's source, the versions
of numba and llvmlite, and the processor.
"""

import contextlib
import ctypes
import hashlib
import os
import platform
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numpy as np
import numpy.typing as npt

from gradnoise._kernels.job import CHUNK, JOB

HERE = Path(__file__).parent
SOURCES = ("__init__.py", "compiled.py", "job.py")
NAME = "gradnoise_add_shares"
DIGEST_SIZE = hashlib.sha256().digest_size

Job = npt.NDArray[Any]


def new_job(*arrays: Any, n_shares: int) -> Job:
    """Return a job for `add_shares`.

    Args:
        arrays: The arguments of `compiled.add_share` up to `squares`; they must be alive until the
            job is done.
        n_shares: The number of shares into which it is divided; at least 1.

    Raises:
        ValueError: If an array is not contiguous, or its numbers are not of 8 bytes.
    """
    if not all(array.flags.c_contiguous and array.itemsize == 8 for array in arrays):
        raise ValueError(
            "arrays must be contiguous and of 8-byte numbers, as the kernel reads them."
        )
    addresses, _, _, _, ts, stds, states, _, squares = arrays
    lengths = (len(addresses), len(ts), len(stds), len(states), len(squares))
    return np.array([(*(array.ctypes.data for array in arrays), *lengths, n_shares, 0)], JOB)


def n_chunks(starts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> int:
    """Return the number of chunks of runs of these first elements and sizes."""
    ends = -(-(starts + sizes) // CHUNK)
    return int(np.where(sizes > 0, ends - starts // CHUNK, 0).sum())


def machine_code() -> bytes:
    """Return the kernel as an object file, from the cache or compiled."""
    name = f"gradnoise-{_key()}.o"
    for folder in _folders():
        with contextlib.suppress(OSError):
            content = (folder / name).read_bytes()
            code = content[DIGEST_SIZE:]
            if hashlib.sha256(code).digest() == content[:DIGEST_SIZE]:
                return code
    from gradnoise._kernels import compiled

    code = compiled.object_file(NAME)
    for folder in _folders():
        with contextlib.suppress(OSError):
            _write(folder / name, hashlib.sha256(code).digest() + code)
            break
    return code


def _folders() -> Iterator[Path]:
    """Yield the folders of the cache, of which the first writable one is used."""
    if given := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(given)
    yield HERE / "__pycache__"
    yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gradnoise"


def _key() -> str:
    described = (
        version("numba"),
        version("llvmlite"),
        platform.platform(),
        llvm.get_host_cpu_name(),
        llvm.get_host_cpu_features().flatten(),
        *((HERE / name).read_text(encoding="utf-8") for name in SOURCES),
    )
    return hashlib.sha256("\n".join(described).encode()).hexdigest()[:32]


def _write(path: Path, content: bytes) -> None:
    """Write a file that is whole whenever it exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")
    part.write_bytes(content)
    part.replace(path)


def _loaded(code: bytes) -> Any:
    """Return an engine that holds the object file's functions in memory."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        codemodel="jitdefault", jit=True
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


_engine = _loaded(machine_code())
address: int = _engine.get_function_address(NAME)
"""The function `void (int64_t job)`, which does shares of a job until none is left."""

add_shares: Callable[[int], None] = ctypes.CFUNCTYPE(None, ctypes.c_int64)(address)
"""Do shares of the job at an address until none is left; also on several threads at a time."""
