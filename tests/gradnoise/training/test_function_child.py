"""What the process of a training function does where its machine is out of room."""

import errno
from multiprocessing import Pipe
from pathlib import Path

import pytest

from gradnoise.training.files import Files, SavedFile
from gradnoise.training.function_child import Order, ProcessHost
from trial_runs import spec


class Full(Files):
    """Files on a disk that is full for the first two saves, and then has a fault."""

    errors = (errno.ENOSPC, errno.EDQUOT, None, errno.EIO)

    def keep(self, place: str, name: str, path: Path) -> SavedFile:
        code, *rest = type(self).errors
        type(self).errors = tuple(rest)
        if code is not None:
            raise OSError(code, "no")
        return super().keep(place, name, path)


def test_a_file_is_saved_once_a_full_disk_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gradnoise.training.function_child.RETRY_SECONDS", 0.0)
    path = tmp_path / "result.txt"
    path.write_text("result")
    trainer, process = Pipe()
    with trainer, process:
        order = Order(
            source=b"",
            spec=spec(checkpoint="1/2"),
            environment={},
            folder="",
            threads=1,
            checkpoint_seconds=None,
            kept=None,
            files=Full(url=str(tmp_path / "kept")),
        )
        host = ProcessHost(process, order)
        host.save("result.txt", path)
        assert trainer.recv().name == "result.txt"
        assert capsys.readouterr().out.count("is saved once there is room") == 2
        with pytest.raises(OSError, match="no") as raised:
            host.save("result.txt", path)
        assert raised.value.errno == errno.EIO
