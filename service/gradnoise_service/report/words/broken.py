"""Installed declarations that cannot be used, as texts."""

from gradnoise_service.domain.catalogue import BrokenEntry

REPAIR = "Repair or remove the package, and restart the workers."


def place(entry: BrokenEntry) -> str:
    """Return what cannot be used: `workload spirals = spirals:train of example 1.0`."""
    return f"{entry.kind} {entry.name} = {entry.value} of {entry.package}"


def shadowed(entry: BrokenEntry) -> str:
    """Return the warning of a study that uses the name, which another package has as well."""
    return (
        f"Another package also declares the {entry.kind} {entry.name!r}, and the study does not "
        f"use it: {entry.value} of {entry.package} ({entry.error})."
    )
