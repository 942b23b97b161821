"""Imports the modules of a source from their stored texts."""

import importlib.abc
import importlib.machinery
import importlib.util
import linecache
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from gradnoise_workers.source.imports import candidates


class SourceFinder(importlib.abc.MetaPathFinder):
    """Finds the modules of a source; tracebacks and `inspect` show the lines of its texts.

    Args:
        folder: The folder of the files; a module's `__file__` is its path in it.
        files: The texts by relative path.
        reads_folder: Whether to add a file of the folder when it is imported.

    Attributes:
        names: The names under which modules were found.
    """

    def __init__(self, folder: Path, files: dict[str, str], *, reads_folder: bool = False) -> None:
        self.folder = folder
        self.files = files
        self.names: set[str] = set()
        self._reads_folder = reads_folder

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        for file in candidates(fullname):
            if self._has(file):
                return self.spec(fullname, file)
        prefix = fullname.replace(".", "/") + "/"
        if any(file.startswith(prefix) for file in self.files):
            return self._namespace(fullname, path)
        if any((self.folder / file).is_file() for file in candidates(fullname)):
            raise ModuleNotFoundError(
                f"the study has no copy of {fullname.replace('.', '/')}.py, because no import "
                "statement names it: import it at the top of the file",
                name=fullname,
            )
        return None

    def spec(self, name: str, file: str) -> ModuleSpec:
        """Return the spec by which a file is imported under a name."""
        self.names.add(name)
        location = str(self.folder / file)
        text = self.files[file]
        # without a time of modification, so that the lines are kept when the file changes
        linecache.cache[location] = (len(text), None, text.splitlines(keepends=True), location)
        is_package = file.endswith("/__init__.py")
        loader = _TextLoader(text, location, is_package=is_package)
        spec = ModuleSpec(name, loader, origin=location, is_package=is_package)
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [str(Path(location).parent)]
        return spec

    def _has(self, file: str) -> bool:
        if file not in self.files and self._reads_folder and (self.folder / file).is_file():
            self.files[file] = (self.folder / file).read_text(encoding="utf-8-sig")
        return file in self.files

    def _namespace(self, fullname: str, path: Sequence[str] | None) -> ModuleSpec | None:
        """Return the spec of a folder without `__init__.py`, unless a package has the name."""
        if importlib.machinery.PathFinder.find_spec(fullname, path) is not None:
            return None
        self.names.add(fullname)
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = [str(self.folder / fullname.replace(".", "/"))]
        return spec


class _TextLoader(importlib.abc.ExecutionLoader):
    def __init__(self, text: str, location: str, *, is_package: bool) -> None:
        self._text = text
        self._location = location
        self._is_package = is_package

    def get_source(self, fullname: str) -> str:
        return self._text

    def get_filename(self, fullname: str) -> str:
        return self._location

    def is_package(self, fullname: str) -> bool:
        return self._is_package
