"""What runs a study: the hashes of its code."""

import hashlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from gradnoise.techniques.registry import TECHNIQUES
from gradnoise.workloads.registry import OPTIMIZERS, WORKLOADS
from gradnoise_service.domain.hashes import sha256
from gradnoise_service.domain.source import Source
from gradnoise_service.domain.spec import StudySpec
from gradnoise_workers.source.imports import closure

PACKAGES = ("gradnoise", "gradnoise_service", "gradnoise_workers")


def code_hash(spec: StudySpec, source: Source | None = None) -> str:
    """Return the SHA-256 of the Python files of gradnoise and of what the study names.

    These are the packages of the library, the service and the workers, and the packages that
    declare the study's workload, optimizer and techniques, as installed in this process. The
    source, if the study has one, is part of the code.
    """
    recipes = [spec.recipe(arm) for arm in spec.arms]
    named = {
        WORKLOADS.group: {spec.workload},
        OPTIMIZERS.group: {recipe.optimizer for recipe in recipes},
        TECHNIQUES.group: {name for recipe in recipes for name in recipe.techniques},
    }
    modules = {
        point.module.partition(".")[0]
        for group, names in named.items()
        for point in entry_points(group=group)
        if point.name in names
    }
    digest = hashlib.sha256()
    for module in sorted({*PACKAGES, *modules}):
        for name, file in _files(module):
            content = file.read_bytes()
            digest.update(f"{name} {len(content)}\n".encode())
            digest.update(content)
    if source is not None:
        digest.update(source.hash.encode())
    return digest.hexdigest()


def part_hashes(spec: StudySpec, source: Source | None = None) -> dict[str, str]:
    """Return the hash of the code of each part of a study: `workload mlp`, `optimizer sgd`, ...

    It is the start of the SHA-256 over the module that declares it, with the modules of the same
    package that it imports. A part that the study's source declares is left out: its code is stored
    with the study.
    """
    announced = {} if source is None else source.announced
    stored = {
        f"{kind.removesuffix('s')} {each['name']}"
        for kind, entries in announced.items()
        for each in entries
    }
    recipes = [spec.recipe(arm) for arm in spec.arms]
    named = {f"workload {spec.workload}"}
    named |= {f"optimizer {recipe.optimizer}" for recipe in recipes}
    named |= {f"technique {name}" for recipe in recipes for name in recipe.techniques}
    return {
        part: _module_hash(module)
        for part, module in _installed_modules().items()
        if part in named - stored
    }


def installed_hashes() -> dict[str, str]:
    """Return the hashes of all installed parts, by their names as in `part_hashes`."""
    return {part: _module_hash(module) for part, module in _installed_modules().items()}


def changed_parts(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the parts whose code is not that with which a study started."""
    return sorted(part for part in before if now.get(part, before[part]) != before[part])


def _installed_modules() -> dict[str, str]:
    groups = {registry.kind: registry.group for registry in (WORKLOADS, OPTIMIZERS, TECHNIQUES)}
    return {
        f"{kind} {point.name}": point.module
        for kind, group in groups.items()
        for point in sorted(entry_points(group=group))
    }


def _module_hash(module: str) -> str:
    """Return the hash of a module with the modules of its package that it imports."""
    package = module.partition(".")[0]
    found = find_spec(package)
    if found is None or found.origin is None:
        return ""
    folder = Path(found.origin).parent
    if found.submodule_search_locations:
        folder = folder.parent
    path = module.replace(".", "/")
    names = (f"{path}/__init__.py", f"{path}.py")
    name = next((name for name in names if (folder / name).is_file()), None)
    if name is None:
        return ""

    def read(file: str) -> str | None:
        is_own = file.startswith((f"{package}/", f"{package}.py")) and (folder / file).is_file()
        return (folder / file).read_text(encoding="utf-8") if is_own else None

    return sha256(sorted(closure(name, read).items()))[:16]


def _files(module: str) -> list[tuple[str, Path]]:
    """Return the Python files of a package, or of a single module, by name from its top."""
    found = find_spec(module)
    if found is None:
        return []
    if not found.submodule_search_locations:
        return [(module, Path(found.origin))] if found.origin else []
    return sorted(
        (f"{module}/{file.relative_to(folder).as_posix()}", file)
        for folder in map(Path, found.submodule_search_locations)
        for file in folder.rglob("*.py")
    )
