"""Packages as pip installs them."""

from collections.abc import Mapping
from pathlib import Path


def put(site: Path, package: str, entry_points: Mapping[str, str], group: str) -> None:
    """Write what pip writes when it installs a package with entry points."""
    info = site / f"{package}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
    lines = [f"{name} = {value}" for name, value in entry_points.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
