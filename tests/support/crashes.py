"""Crashes of the process at any write, and a study that survives them."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from optuna.storages import RDBStorage

from formula_launcher import FormulaLauncher
from gradnoise_service.domain.study import Study
from gradnoise_service.store.database import Database, Session
from gradnoise_workers.launcher import Launcher
from study_runs import LEASE, finish, read, start


class Crash(BaseException):
    """The simulated end of the process."""


class Countdown:
    """Raises Crash at the n-th write, either before or after it takes effect."""

    def __init__(self, n: int) -> None:
        self.n = n

    def tick(self) -> bool:
        self.n -= 1
        return self.n == 0


class CrashingDatabase(Database):
    def __init__(self, url: str, countdown: Countdown) -> None:
        super().__init__(url)
        self.countdown = countdown

    @contextmanager
    def session(self, *, write: bool = False) -> Iterator[Session]:
        with super().session(write=write) as session:
            yield session
            if write and self.countdown.tick():
                raise Crash
        if write and self.countdown.tick():
            raise Crash


class CrashingStorage(RDBStorage):
    countdown: Countdown

    def create_new_trial(self, *arguments: Any, **keywords: Any) -> int:
        return self._with_crash(super().create_new_trial, *arguments, **keywords)

    def set_trial_state_values(self, *arguments: Any, **keywords: Any) -> bool:
        return self._with_crash(super().set_trial_state_values, *arguments, **keywords)

    def set_trial_intermediate_value(self, *arguments: Any, **keywords: Any) -> None:
        return self._with_crash(super().set_trial_intermediate_value, *arguments, **keywords)

    def _with_crash(self, write: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        if self.countdown.tick():
            raise Crash
        result = write(*arguments, **keywords)
        if self.countdown.tick():
            raise Crash
        return result


def crash_repeatedly(
    database: Database,
    study: Study,
    now: datetime,
    stride: int,
    open_launcher: Callable[[], Launcher] = lambda: FormulaLauncher(slots=2),
) -> None:
    """Run a study to its end through repeated crashes, each followed by a takeover.

    Successive runs crash after 4 to 26 writes, `stride` writes later than the previous run.
    """
    url = database.url.render_as_string(hide_password=False)
    crashes = 0
    for n_run in itertools.count(1):
        now += 2 * LEASE
        countdown = Countdown(n_run * stride % 23 + 4)
        crashing_database = CrashingDatabase(url, countdown)
        crashing_storage = CrashingStorage(
            url,
            engine_kwargs={"connect_args": {"timeout": 30}} if crashing_database.is_sqlite else {},
            skip_compatibility_check=True,  # it takes longer than the writes until the crash
            skip_table_creation=True,
        )
        crashing_storage.countdown = countdown
        try:
            finish(
                start(
                    crashing_database,
                    crashing_storage,
                    open_launcher(),
                    now,
                )
            )
            break
        except Crash:
            crashes += 1
        finally:
            crashing_storage.remove_session()
            crashing_storage.engine.dispose()
            crashing_database.dispose()
        if read(database, study)[0].has_ended:
            break
    assert crashes > 10
    assert read(database, study)[0].state == "complete"
