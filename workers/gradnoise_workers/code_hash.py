"""What runs a study: the hash of its code, and the parameters of its parts."""

import hashlib
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from gradnoise.techniques.registry import TECHNIQUES
from gradnoise.workloads.registry import OPTIMIZERS, WORKLOADS
from gradnoise_service.domain.source import Source
from gradnoise_service.domain.spec import StudySpec

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


def parameters_of(spec: StudySpec, source: Source | None = None) -> dict[str, list[str]]:
    """Return the parameters of each technique and optimizer of a study, by its name.

    Those that the study's source declares are read from its announcement.
    """
    announced = {} if source is None else source.announced
    own = {
        each["name"]: [parameter["name"] for parameter in each["parameters"]]
        for kind in ("techniques", "optimizers")
        for each in announced.get(kind, ())
    }
    recipes = [spec.recipe(arm) for arm in spec.arms]
    techniques = {name for recipe in recipes for name in recipe.techniques}
    optimizers = {recipe.optimizer for recipe in recipes}
    found = {name: TECHNIQUES.find(name).parameters for name in techniques - own.keys()}
    found |= {name: OPTIMIZERS.find(name).parameters for name in optimizers - own.keys()}
    installed = {name: [parameter.name for parameter in found[name]] for name in found}
    named = {name: own[name] for name in (techniques | optimizers) & own.keys()}
    return dict(sorted((installed | named).items()))


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
