"""The folder of an earlier Ray session is removed, and nothing else."""

from pathlib import Path

from gradnoise_workers.ray_session import record_session, remove_session


def test_the_recorded_session_is_removed_with_its_logs(tmp_path: Path) -> None:
    record = tmp_path / "home" / "ray-session"
    remove_session(record)
    session, other = tmp_path / "session_1", tmp_path / "data"
    for folder in (session, other):
        (folder / "logs").mkdir(parents=True)
    record_session(record, str(session))
    remove_session(record)
    assert not session.exists()
    assert not record.exists()
    record_session(record, str(other))
    remove_session(record)
    assert other.exists()
