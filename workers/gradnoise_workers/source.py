"""The hash of the code that runs a study."""

import hashlib
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from gradnoise.techniques.registry import TECHNIQUES
from gradnoise.workloads.registry import OPTIMIZERS, WORKLOADS
from gradnoise_service.domain.spec import StudySpec

PACKAGES = ("gradnoise", "gradnoise_service", "gradnoise_workers")


def code_hash(spec: StudySpec) -> str:
    """Return the SHA-256 of the Python files of gradnoise and of what the study names.

    These are the packages of the library, the service and the workers, and the packages that
    declare the study's workload, optimizer and techniques, as installed in this process.
    """
    named = {
        WORKLOADS.group: {spec.workload},
        OPTIMIZERS.group: {spec.optimizer},
        TECHNIQUES.group: {name for arm in spec.arms for name in arm.techniques},
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
    return digest.hexdigest()


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
