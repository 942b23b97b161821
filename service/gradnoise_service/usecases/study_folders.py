"""What trials leave outside the database: a folder for each study, named by its id."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class StudyFolders:
    """The folders of the studies, at one place.

    Args:
        url: A folder, or a URL of fsspec, such as `s3://bucket/folder`.
    """

    url: str

    def of(self, study_id: int) -> tuple[Any, str]:
        """Return the file system, and the path of a study's folder in it."""
        return self._located(str(study_id))

    def studies(self) -> set[int]:
        """Return the ids of the studies that have a folder."""
        system, root = self._located("")
        names = (path.rpartition("/")[2] for path in _listed(system, root))
        return {int(name) for name in names if name.isdigit()}

    def remove(self, study_id: int) -> None:
        """Remove the folder of a study, if there is one."""
        system, folder = self.of(study_id)
        if system.exists(folder):
            system.rm(folder, recursive=True)

    def keep_only(self, study_id: int, names: Collection[str]) -> None:
        """Remove everything from the folder of a study but the files of these names."""
        system, folder = self.of(study_id)
        for path in _listed(system, folder):
            if path.rpartition("/")[2] not in names:
                system.rm(path, recursive=True)

    def _located(self, path: str) -> tuple[Any, str]:
        import fsspec  # type: ignore[import-untyped]

        system, root = fsspec.core.url_to_fs(self.url)
        system.invalidate_cache()  # other processes write there
        return system, f"{root.rstrip('/')}/{path}"


def _listed(system: Any, folder: str) -> list[str]:
    try:
        return [path.rstrip("/") for path in system.ls(folder, detail=False)]
    except FileNotFoundError:
        return []
