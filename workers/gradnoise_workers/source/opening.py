"""Opening a source: its code is imported and its declarations can be used."""

import atexit
import functools
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType

from gradnoise.training.function_process import bootstrap, set_bootstrap
from gradnoise_service.domain.source import Source
from gradnoise_workers.source.declarations import Declarations, declarations, registered
from gradnoise_workers.source.faults import SourceError, fault_of
from gradnoise_workers.source.finder import SourceFinder


@contextmanager
def opened(source: Source, *, reads_folder: bool = False) -> Iterator[Declarations]:
    """Import a source within a block, in its folder, and register what it declares.

    The code is that of the stored texts, whatever the files contain now.

    Args:
        source: The source.
        reads_folder: Whether files of the folder that are imported by other means than an import
            statement are added to `source.files`.

    Raises:
        SourceError: If the code cannot be imported, or a declaration cannot be used.
    """
    folder = Path(source.folder)
    files = source.files if isinstance(source.files, dict) else dict(source.files)
    finder = SourceFinder(folder, files, reads_folder=reads_folder)
    _check_shadows(source)
    with ExitStack() as stack:
        stack.enter_context(_working_in(folder))
        stack.enter_context(_importing(finder))
        module = _imported(finder, source.name)
        declared = declarations(module, frozenset(finder.names))
        stack.enter_context(registered(declared))
        stack.callback(set_bootstrap, bootstrap())
        set_bootstrap(functools.partial(open_for_good, source))
        yield declared


_open_for_good: set[str] = set()


def open_for_good(source: Source) -> None:
    """Import a source for the rest of a process, once; for the processes of training functions.

    Raises:
        SourceError: As `opened`.
    """
    if source.hash not in _open_for_good:
        stack = ExitStack()
        stack.enter_context(opened(source))
        atexit.register(stack.close)  # before the interpreter takes its modules apart
        _open_for_good.add(source.hash)


@contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    if folder.is_dir():
        os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def _importing(finder: SourceFinder) -> Iterator[None]:
    before = dict(sys.modules)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in finder.names:
            sys.modules.pop(name, None)
            if name in before:
                sys.modules[name] = before[name]


def _imported(finder: SourceFinder, file: str) -> ModuleType:
    """Import the file itself, as a program that was started with its path alone would see it.

    Its name does not depend on what a process has imported before, because a training function is
    found in another process by the name of its module.
    """
    stem = Path(file).stem
    name = f"{stem}_" if stem in sys.stdlib_module_names or _is_installed(stem, finder) else stem
    spec = finder.spec(name, file)
    module = importlib.util.module_from_spec(spec)
    assert spec.loader is not None
    arguments, sys.argv = sys.argv, [str(finder.folder / file)]
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise fault_of(error, finder.folder) from error
    finally:
        sys.argv = arguments
    return module


def _is_installed(name: str, finder: SourceFinder) -> bool:
    others = (other for other in sys.meta_path if other is not finder)
    return any(other.find_spec(name, None) is not None for other in others)


def _check_shadows(source: Source) -> None:
    """Refuse an imported file whose name another module has in every process."""
    for file in source.files:
        name = file.partition("/")[0].removesuffix(".py")
        if file != source.name and (name in sys.stdlib_module_names or name in sys.modules):
            raise SourceError(
                f"{source.name} imports {name}, which is both {file} and an installed module.",
                f"Rename {file}.",
            )
