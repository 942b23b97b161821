"""Ready studies, one YAML file each: what `gradnoise submit --preset NAME` sends."""

from importlib import resources
from typing import Any

import yaml

FILES = resources.files(__name__)


def names() -> list[str]:
    """Return the presets' names, in order."""
    return sorted(file.name.removesuffix(".yaml") for file in FILES.iterdir() if file.name.endswith(".yaml"))


def load(name: str) -> dict[str, Any]:
    """Return a preset as the plain values of a StudySpec.

    Raises:
        KeyError: If there is no preset of this name.
    """
    if name not in names():
        raise KeyError(f"there is no preset named {name!r}; there are {', '.join(names())}")
    plain: dict[str, Any] = yaml.safe_load((FILES / f"{name}.yaml").read_text(encoding="utf-8"))
    return plain


def describe(name: str) -> str:
    """Return what a preset asks, and what it costs; raises as `load` does."""
    return str(load(name)["description"])
