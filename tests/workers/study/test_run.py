"""A study runs from its first trial to its verdict."""

from collections.abc import Callable
from datetime import datetime

import optuna
from optuna_dashboard import get_note

from formula_launcher import FormulaLauncher
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.search import Storage
from gradnoise_service.store.database import Database
from study_runs import (
    PROTOCOL,
    assert_exactly_as_declared,
    finish,
    read,
    start,
    submit,
)

Make = Callable[..., StudySpec]


def test_a_study_runs_from_search_to_verdict(
    database: Database, storage: Storage, make_spec: Make, now: datetime
) -> None:
    study = submit(database, make_spec(confirm={"n_seeds": 8}), now)
    launcher = FormulaLauncher()
    finish(start(database, storage, launcher, now))
    after, table = read(database, study)
    assert_exactly_as_declared(database, storage, study)
    assert after.state == "complete"
    # the formula gives noise 0.2, ten times the smallest difference
    assert after.verdict == "helps"
    assert after.comparison is not None
    assert after.protocol == PROTOCOL
    for name in ("baseline", "noisy", "confirm"):
        note = get_note(optuna.load_study(study_name=f"a study · {name}", storage=storage))
        assert str(after.comparison["sentence"]) in note.replace("\\", "")
    shown = storage.get_study_system_attrs(storage.get_study_id_from_name("a study · confirm"))
    assert {key.split(":")[2] for key in shown if key.startswith("dashboard:plot_data:")} >= {
        "confirm",
        "best_so_far",
        "course",
    }
    chosen = {trial.arm: trial.params for trial in table if trial.phase == "confirm"}
    for arm in ("baseline", "noisy"):
        best = max(
            (trial for trial in table if (trial.phase, trial.arm) == ("search", arm)),
            key=lambda trial: trial.value or 0.0,
        )
        assert chosen[arm] == best.params
    assert {spec.with_test for spec in launcher.admitted if spec.technique == "annealed"} == {
        True,
        False,
    }
    specs = {spec.key: spec for spec in launcher.admitted}
    assert len(specs) == 2 * (4 + 8)
