"""Names of files lead out of no folder."""

from pathlib import Path

import pytest

from gradnoise.workloads.function_host import checked_name
from open_trial import RecordingHost, open_trial


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/x", ".hidden", "a b", "a\\b", "a\n", "é", "x" * 101]
)
def test_an_illegal_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="the name of a file must be at most 100 letters"):
        checked_name(name)


def test_a_file_is_saved_under_its_own_or_another_name(tmp_path: Path) -> None:
    host = RecordingHost()
    trial = open_trial(host)
    path = tmp_path / "model.pt"
    path.write_bytes(b"x")
    trial.save(path)
    trial.save(str(path), name="other-1.pt")
    assert host.files == {"model.pt": b"x", "other-1.pt": b"x"}
    with pytest.raises(ValueError, match="but got 'a b'"):
        trial.save(path, "a b")
