"""Virtual environments of packages of this environment, linked instead of installed.

`python tests/support/linked_environment.py FOLDER NAME ...` makes one of the named packages and all
that they require.
"""

import sys
import venv
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement


def link_environment(folder: Path, *names: str) -> Path:
    """Make a virtual environment of these packages and all that they require.

    Returns:
        The folder `site-packages`, which holds links to the packages.
    """
    venv.create(folder, with_pip=False, clear=True)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    for path in _files_of(_required_by(*names)):
        (site_packages / path.name).symlink_to(path)
    return site_packages


def _required_by(*names: str) -> dict[str, Distribution]:
    """Return the installed distributions with these names and all that they require."""
    found: dict[str, Distribution] = {}
    queue = list(names)
    while queue:
        name = queue.pop()
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # required on another platform
            continue
        requirements = map(Requirement, found[name].requires or ())
        queue += [
            r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})
        ]
    return found


def _files_of(distributions: dict[str, Distribution]) -> set[Path]:
    """Return the files and folders of distributions in site-packages."""
    return {
        Path(str(package.locate_file(file.parts[0])))
        for package in distributions.values()
        for file in package.files or ()
        if file.parts[0] not in ("..", "__pycache__", "distutils-precedence.pth")
    }


if __name__ == "__main__":
    link_environment(Path(sys.argv[1]), *sys.argv[2:])
