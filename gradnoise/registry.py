"""What is installed: workloads, techniques and optimizers, each an entry point of a group."""

import functools
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import Generic, Protocol, TypeVar


class Named(Protocol):
    """What a package declares; its name is that of its entry point."""

    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)


@dataclass(frozen=True, kw_only=True)
class Installed(Generic[T]):
    """The contents of a registry.

    Args:
        declared: What can be used, by name, in the order of the names.
        broken: The errors of the entry points that cannot be used, each by `name = value`.
        packages: The name and version of the package of each of them, by the keys of both.
    """

    declared: Mapping[str, T]
    broken: Mapping[str, str]
    packages: Mapping[str, str]


class Registry(Generic[T]):
    """The entry points of a group. Each is loaded once, at the first use of the registry.

    An entry point that cannot be used is listed with its error and leaves the others usable.

    Args:
        kind: What an entry point declares, for messages, such as `workload`.
        group: The entry-point group, such as `gradnoise.workloads`.
        check: Returns the loaded object if it is a usable declaration; raises TypeError or
            ValueError if it is not.
    """

    def __init__(self, kind: str, group: str, check: Callable[[object], T]) -> None:
        self.kind = kind
        self.group = group
        self._check = check
        self._installed: Installed[T] | None = None

    def installed(self) -> Installed[T]:
        """Return what is installed."""
        if self._installed is None:
            self._installed = self._load_all()
        return self._installed

    def names(self) -> tuple[str, ...]:
        """Return the names that can be used, sorted."""
        return tuple(self.installed().declared)

    def find(self, name: str) -> T:
        """Return the declaration of that name.

        Raises:
            ValueError: If none is installed, or its package is broken.
        """
        installed = self.installed()
        if name not in installed.declared:
            faults = [
                f"; {point} is broken: {error}"
                for point, error in installed.broken.items()
                if point.startswith(f"{name} = ")
            ]
            raise ValueError(
                f"there is no {self.kind} named {name!r}; installed are "
                f"{', '.join(installed.declared)}{''.join(faults)}."
            )
        return installed.declared[name]

    def reload(self) -> None:
        """Discard the result of the search; the next use searches the entry points again."""
        self._installed = None

    @contextmanager
    def including(self, *declarations: T) -> Iterator[None]:
        """Add declarations without entry points, or replace installed ones of the same names.

        They are usable within the context; at its end the registry is as before.

        Raises:
            TypeError, ValueError: If a declaration is not usable.
        """
        before = self.installed()
        checked = [self._check(declared) for declared in declarations]
        merged = {**before.declared, **{declared.name: declared for declared in checked}}
        self._installed = replace(before, declared=dict(sorted(merged.items())))
        try:
            yield
        finally:
            self._installed = before

    def _load_all(self) -> Installed[T]:
        declared: dict[str, T] = {}
        broken: dict[str, str] = {}
        packages: dict[str, str] = {}
        package_of = functools.cache(_package)  # it parses all metadata
        for point in sorted(entry_points(group=self.group)):
            key, package = f"{point.name} = {point.value}", package_of(point.dist)
            try:
                if point.name in declared:
                    raise ValueError(f"{packages[point.name]} has the name {point.name!r} already")
                declared[point.name] = self._load(point)
                packages[point.name] = package
            except (Exception, SystemExit) as error:
                broken[key] = "".join(traceback.format_exception_only(error)).strip()
                packages[key] = package
        return Installed(declared=declared, broken=broken, packages=packages)

    def _load(self, point: EntryPoint) -> T:
        declared = self._check(point.load())
        if declared.name != point.name:
            raise ValueError(
                f"the {self.kind} is named {declared.name!r}, which must be the name of its entry "
                f"point, {point.name!r}"
            )
        return declared


def _package(distribution: Distribution | None) -> str:
    return "" if distribution is None else f"{distribution.name} {distribution.version}"
