"""Which files of a folder a file imports, directly or through others, found without running it."""

import ast
import functools
from collections.abc import Callable, Iterator

Read = Callable[[str], str | None]
"""Returns the text of a file by its path relative to the folder; None if there is no such file."""


def closure(name: str, read: Read) -> dict[str, str]:
    """Return the text of a file and of every file that it imports, by relative path.

    Imports inside functions count. A module that lies outside the folder is left out.

    Args:
        name: The relative path of the file, such as `train.py`.
        read: Reads the files.

    Raises:
        SyntaxError: If a file is not valid Python.
        FileNotFoundError: If the file does not exist.
    """
    texts: dict[str, str] = {}
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        text = read(path)
        if text is None:
            if path == name:
                raise FileNotFoundError(name)
            continue
        texts[path] = text
        for module in _modules(text, path):
            waiting += candidates(module)
    return dict(sorted(texts.items()))


@functools.lru_cache(maxsize=4_096)  # a service reads the same files for each study
def _modules(text: str, path: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(imported(ast.parse(text, path), path)))


def candidates(module: str) -> tuple[str, str]:
    """Return the relative paths that a module of a dotted name can have, the preferred first."""
    path = module.replace(".", "/")
    return f"{path}/__init__.py", f"{path}.py"


def imported(tree: ast.Module, path: str) -> Iterator[str]:
    """Yield the dotted names of all modules that a file may import, parents before children.

    In `from a import b`, b may be a module or any other name of a; both are yielded.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _prefixes(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, path)
            if base is not None:
                yield from _prefixes(base)
                yield from (f"{base}.{alias.name}" for alias in node.names)


def _base(node: ast.ImportFrom, path: str) -> str | None:
    """Return the module of `from module import ...`; None if it lies above the folder."""
    if not node.level:
        return node.module
    package = path.split("/")[:-1]
    n_up = node.level - 1
    if n_up >= len(package):
        return None
    return ".".join([*package[: len(package) - n_up], *([node.module] if node.module else [])])


def _prefixes(module: str) -> Iterator[str]:
    parts = [part for part in module.split(".") if part]
    for n in range(1, len(parts) + 1):
        yield ".".join(parts[:n])
