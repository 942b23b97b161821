"""The techniques that are installed: the entry points of the group `gradnoise.techniques`."""

from collections.abc import Iterable

from gradnoise.registry import Registry
from gradnoise.techniques.base import Technique
from gradnoise.techniques.contribution import Place


def _check(declared: object) -> Technique:
    if not isinstance(declared, Technique):
        raise TypeError(f"it must be a Technique, but it is {declared!r}")
    return declared


TECHNIQUES = Registry("technique", "gradnoise.techniques", _check)


def names_within(places: Iterable[Place]) -> tuple[str, ...]:
    """Return the names of the installed techniques that contribute to these places alone."""
    within = set(places)
    return tuple(
        name
        for name, technique in TECHNIQUES.installed().declared.items()
        if within.issuperset(technique.places)
    )
