"""The devices are busy for at least 92 % of the time, in simulated time."""

from datetime import datetime

import pytest

from gradnoise.training.trial import Finished, TrialSpec
from gradnoise_service import presets
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.search import Storage
from gradnoise_service.store import leases, studies
from gradnoise_service.store.database import Database
from gradnoise_workers.launcher import LauncherEvent
from gradnoise_workers.study import Ledger, OptunaSync, StudyRun
from study_runs import ACCURACY, LEASE, finish
from timed_launcher import TimedLauncher

pytestmark = pytest.mark.usefixtures("without_reports")

RATES = {1: 285.0, 2: 518.0, 4: 719.0, 8: 891.0, 16: 931.0, 32: 1048.0}
"""Updates per second of stacks of the network 20 x 50 on a core."""


def diverging(spec: TrialSpec, epoch: int) -> LauncherEvent | None:
    """End a third of the noisy trials after some of their epochs."""
    is_lost = "annealed" in spec.techniques and spec.seed % 3 == 0
    at = 1 + spec.seed % spec.budget_epochs
    return Finished(key=spec.key, diverged=True, seconds=0.01) if is_lost and epoch == at else None


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("preset", "steps", "slots"), [("demo", 12, 32), ("mnist-quick", 500, 8)])
def test_devices_are_busy_until_the_verdict(
    database: Database, storage: Storage, now: datetime, preset: str, steps: int, slots: int
) -> None:
    [plain] = presets.load(preset)
    spec = StudySpec.model_validate(plain)
    launcher = TimedLauncher(now, slots=slots, rates=RATES, steps=steps)
    launcher.override = diverging
    with database.session(write=True) as session:
        studies.submit(session, spec, ACCURACY, owner="ada", now=now)
    with database.session(write=True) as session:
        acquired = leases.acquire(session, "d", now, LEASE * 10_000)
    assert acquired is not None
    study, lease = acquired
    ledger = Ledger(
        database=database,
        study=study,
        lease=lease,
        lease_duration=LEASE * 10_000,
        now=launcher.now,
    )
    run = StudyRun(ledger, OptunaSync(study, storage), launcher, {})
    run.resume()
    finish(run)
    assert ledger.busy(2)["share"] >= 0.92
