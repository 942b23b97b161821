"""Ready studies, one YAML file each: what `gradnoise submit --preset NAME` sends."""

from importlib import resources
from typing import Any

from service.study_file import parse_yaml

FILES = resources.files(__name__)


def names() -> list[str]:
    """Return the presets' names, in order."""
    return sorted(file.name.removesuffix(".yaml") for file in FILES.iterdir() if file.name.endswith(".yaml"))


def text(name: str) -> str:
    """Return a preset's file.

    Raises:
        KeyError: If there is no preset of this name.
    """
    if name not in names():
        raise KeyError(f"there is no preset named {name!r}; there are {', '.join(names())}")
    return (FILES / f"{name}.yaml").read_text(encoding="utf-8")


def load(name: str) -> dict[str, Any]:
    """Return a preset as the plain values of a StudySpec; raises as `text` does."""
    return parse_yaml(text(name))


def describe(name: str) -> str:
    """Return what a preset asks, and what it costs; raises as `text` does."""
    return str(load(name)["description"])
