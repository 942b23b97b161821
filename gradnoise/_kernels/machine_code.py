"""Kernels as machine code: compiled by numba once on a machine, then read from a file.

To import numba and to read its own cache takes about a second, to load the code by llvmlite, which
numba requires, a tenth of that. A file is named after a hash of the kernel's source, the versions
of numba and llvmlite, and the processor.
"""

import contextlib
import ctypes
import hashlib
import importlib
import os
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

HERE = Path(__file__).parent
SHARED_SOURCES = ("intrinsics.py", "object_file.py")
DIGEST_SIZE = hashlib.sha256().digest_size


class Kernel:
    """A compiled function `void (int64_t job)`, which shares work among the threads that call it.

    Args:
        module: The module of this package whose `object_file(name)` compiles the function.
        sources: The files of this package, other than SHARED_SOURCES, that determine the code.

    Attributes:
        address: Its address.
        run: Do parts of the job at an address until none is left.
    """

    def __init__(self, module: str, *sources: str) -> None:
        name = f"gradnoise_{module}"
        self._engine = _loaded(machine_code(module, name, sources))
        self.address: int = self._engine.get_function_address(name)
        self.run = ctypes.CFUNCTYPE(None, ctypes.c_int64)(self.address)


def machine_code(module: str, name: str, sources: tuple[str, ...]) -> bytes:
    """Return a kernel as an object file, from the cache or compiled."""
    file = f"{name}-{_key(sources)}.o"
    for folder in _folders():
        with contextlib.suppress(OSError):
            content = (folder / file).read_bytes()
            cached = content[DIGEST_SIZE:]
            if hashlib.sha256(cached).digest() == content[:DIGEST_SIZE]:
                return cached
    code: bytes = importlib.import_module(f"gradnoise._kernels.{module}").object_file(name)
    for folder in _folders():
        with contextlib.suppress(OSError):
            _write(folder / file, hashlib.sha256(code).digest() + code)
            break
    return code


def _folders() -> Iterator[Path]:
    """Yield the folders of the cache, of which the first writable one is used."""
    if given := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(given)
    yield HERE / "__pycache__"
    yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gradnoise"


def _key(sources: tuple[str, ...]) -> str:
    described = (
        version("numba"),
        version("llvmlite"),
        platform.platform(),
        llvm.get_host_cpu_name(),
        llvm.get_host_cpu_features().flatten(),
        *((HERE / name).read_text(encoding="utf-8") for name in (*SHARED_SOURCES, *sources)),
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
