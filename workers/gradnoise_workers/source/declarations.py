"""What a user's file declares: workloads, techniques and optimizers."""

import inspect
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from gradnoise.registry import Registry
from gradnoise.techniques.base import Technique
from gradnoise.techniques.registry import TECHNIQUES
from gradnoise.workloads import catalogue
from gradnoise.workloads.base import Workload
from gradnoise.workloads.function import FunctionWorkload
from gradnoise.workloads.optimizer import Optimizer
from gradnoise.workloads.registry import OPTIMIZERS, WORKLOADS, Declared
from gradnoise_workers.source.faults import SourceError

EXAMPLE = '@function(metrics={"accuracy": "maximize"})'


@dataclass(frozen=True, kw_only=True)
class Declarations:
    """The declarations of a file, by the names that they have in it."""

    workloads: dict[str, Declared]
    techniques: dict[str, Technique]
    optimizers: dict[str, Optimizer]

    def document(self) -> dict[str, Any]:
        """Return the declarations as a catalogue announces them.

        Raises:
            SourceError: If one of them is not JSON, such as an option whose default is a function.
        """
        document = catalogue.entries(
            self.workloads.values(), self.techniques.values(), self.optimizers.values()
        )
        try:
            json.dumps(document, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise SourceError(
                f"A declaration cannot be stored as JSON: {error}.",
                "Options, metrics and parameters hold numbers, text, true and false; keep "
                "functions in the code, and choose among them by a name.",
            ) from None
        return document


def declarations(module: ModuleType, own_modules: frozenset[str]) -> Declarations:
    """Return what a module declares and what it imports from the modules of the same source.

    Args:
        module: The module of the file.
        own_modules: The names of the modules of its source.
    """
    values = vars(module).items()
    installed = {
        id(declared)
        for registry in (WORKLOADS, TECHNIQUES, OPTIMIZERS)
        for declared in registry.installed().declared.values()
    }

    def of(kind: type[Any]) -> dict[str, Any]:
        return {
            name: value
            for name, value in values
            if isinstance(value, kind) and id(value) not in installed
        }

    classes = {
        name: value
        for name, value in values
        if isinstance(value, type)
        and issubclass(value, Workload)
        and value.__module__ in own_modules
        and not inspect.isabstract(value)
    }
    return Declarations(
        workloads=_unique({**classes, **of(FunctionWorkload)}),
        techniques=_unique(of(Technique)),
        optimizers=_unique(of(Optimizer)),
    )


@contextmanager
def registered(declared: Declarations) -> Iterator[None]:
    """Add declarations to the registries within a block.

    Raises:
        SourceError: If one is not usable, or has the name of another or of an installed one.
    """
    with ExitStack() as stack:
        for registry, found in (
            (TECHNIQUES, declared.techniques),
            (OPTIMIZERS, declared.optimizers),
            (WORKLOADS, declared.workloads),
        ):
            _check_names(registry, found)
            try:
                stack.enter_context(registry.including(*found.values()))
            except (TypeError, ValueError, AttributeError) as error:
                names = ", ".join(found)
                raise SourceError(
                    f"The {registry.kind} cannot be used ({names}): {error}",
                    "Correct the declaration; docs/own-training.md shows one of each kind.",
                ) from None
        yield


def chosen(declared: Declarations, file: str, choice: str) -> str:
    """Return the name of the workload that a command names as `FILE:CHOICE`, or of the only one.

    Raises:
        SourceError: If there is none, or several and no choice.
    """
    by_choice = {
        key: workload.name
        for attribute, workload in declared.workloads.items()
        for key in (attribute, workload.name)
    }
    names = sorted({workload.name for workload in declared.workloads.values()})
    if choice:
        if choice not in by_choice:
            raise SourceError(
                f"{file} declares no workload named {choice!r}.",
                f"It declares {', '.join(names)}." if names else _declare_one(),
            )
        return by_choice[choice]
    if not names:
        raise SourceError(f"{file} declares nothing to train.", _declare_one())
    if len(names) > 1:
        raise SourceError(
            f"{file} declares {len(names)} workloads: {', '.join(names)}.",
            f"Choose one of them, as in {file}:{names[0]}.",
        )
    return names[0]


def _declare_one() -> str:
    return (
        f"Decorate the function that trains with {EXAMPLE} of gradnoise.workloads; `gradnoise new "
        "function DIR` writes an example."
    )


def _unique(found: dict[str, Any]) -> dict[str, Any]:
    """Leave out a second name of the same declaration."""
    first = {id(value): name for name, value in reversed(found.items())}
    return {name: value for name, value in found.items() if first[id(value)] == name}


def _check_names(registry: Registry[Any], found: dict[str, Any]) -> None:
    seen: dict[str, str] = {}
    installed = registry.installed().declared
    for attribute, value in found.items():
        name = getattr(value, "name", attribute)
        if name in installed:
            raise SourceError(
                f"The {registry.kind} {attribute} has the name {name!r}, and one of this name is "
                "installed.",
                f"Give it another name: name={name + '-2'!r}.",
            )
        if name in seen:
            raise SourceError(
                f"{seen[name]} and {attribute} are both named {name!r}.",
                f"Give one {registry.kind} another name.",
            )
        seen[name] = attribute
