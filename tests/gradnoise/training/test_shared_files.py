"""A shared file is replaced as a whole, in a folder and at a URL."""

from pathlib import Path

import pytest

from gradnoise.training.shared_files import delete, located, replacing


@pytest.mark.parametrize("kind", ["folder", "url"])
def test_a_file_is_replaced_once_the_block_has_ended_and_not_after_an_error(
    kind: str, tmp_path: Path
) -> None:
    """Nothing else is left beside it."""
    place = str(tmp_path) if kind == "folder" else f"memory://{tmp_path.name}"
    system, path = located(place, "7/a")
    with replacing(place, "7/a") as file:
        file.write(b"first")
    with pytest.raises(TypeError), replacing(place, "7/a") as file:
        file.write("no bytes")  # type: ignore[arg-type]
    assert system.cat_file(path) == b"first"
    with replacing(place, "7/a") as file:
        file.write(b"second")
        file.flush()
        assert system.cat_file(path) == b"first"
    assert system.cat_file(path) == b"second"
    (left,) = system.ls(located(place, "7")[1], detail=False)
    assert left.endswith("/7/a")
    delete(place, "7/a")
    delete(place, "7/a")
    assert not system.exists(path)
