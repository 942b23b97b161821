"""The workloads that are installed here: every entry point of the group `gradnoise.workloads`."""

import functools
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from gradnoise.workloads.base import Workload
from gradnoise.workloads.function import FunctionWorkload
from gradnoise.workloads.options import schema

GROUP = "gradnoise.workloads"
WORST = 1e100
"""No larger than this is a metric's worst value, so that sums over trials stay finite."""

Declared = type[Workload] | FunctionWorkload


@dataclass(frozen=True, kw_only=True)
class Installed:
    """What was found: workloads by name, and for each entry point that could not be used the error,
    by its name and value.
    """

    workloads: Mapping[str, Declared]
    broken: Mapping[str, str]


@functools.cache
def installed() -> Installed:
    """Import every workload that is installed; one that cannot be imported does not keep the others
    from working.
    """
    workloads: dict[str, Declared] = {}
    broken: dict[str, str] = {}
    for point in sorted(entry_points(group=GROUP)):
        try:
            if point.name in workloads:
                raise ValueError(f"another package has the name {point.name!r} already")
            workloads[point.name] = _load(point)
        except Exception as error:
            broken[f"{point.name} = {point.value}"] = "".join(
                traceback.format_exception_only(error)
            ).strip()
    return Installed(workloads=workloads, broken=broken)


def find(name: str) -> Declared:
    """Return the workload of that name.

    Raises:
        ValueError: If none is installed, or its package is broken.
    """
    found = installed()
    if name not in found.workloads:
        faults = [
            f"; {point} is broken: {error}"
            for point, error in found.broken.items()
            if point.startswith(f"{name} = ")
        ]
        raise ValueError(
            f"there is no workload named {name!r}; installed are "
            f"{', '.join(found.workloads)}{''.join(faults)}."
        )
    return found.workloads[name]


def _load(point: EntryPoint) -> Declared:
    loaded = point.load()
    if not isinstance(loaded, FunctionWorkload) and not (
        isinstance(loaded, type) and issubclass(loaded, Workload)
    ):
        raise TypeError(
            f"it must be a subclass of Workload or a declared function, but it is {loaded!r}"
        )
    if loaded.name != point.name:
        raise ValueError(
            f"the workload calls itself {loaded.name!r}, which must be the name of its entry "
            f"point, {point.name!r}"
        )
    if not loaded.metrics or not all(abs(metric.worst) <= WORST for metric in loaded.metrics):
        raise ValueError(
            "metrics must be at least one, each with a worst value from -1e100 to 1e100, but they "
            f"are {loaded.metrics}"
        )
    schema(loaded.Options)
    return loaded
