"""The study that is compared with Ray Tune: both sides run the same trials."""

import os
from collections.abc import Iterator

import pytest
import torch

from gradnoise_service.domain.design import Design
from gradnoise_service.domain.spec import StudySpec

pytest.importorskip("pyarrow", reason="Ray Tune is not installed: the extra `bench`")
from benchmarks import whole_study


def test_the_study_has_as_many_trials_as_ray_tune_trains() -> None:
    """Search and confirm trials count together; half of them have noise."""
    plain = whole_study.study(
        "a study",
        "mlp",
        {},
        whole_study.N_TRIALS // 2 - whole_study.N_SEEDS,
        whole_study.N_SEEDS,
        2,
    )
    spec = StudySpec.model_validate(plain)
    assert Design.of(spec).n_trials_total == whole_study.N_TRIALS == 64
    assert [arm.techniques for arm in spec.arms] == [["none"], ["annealed"]]


@pytest.fixture
def threads() -> Iterator[None]:
    """Restore torch's number of threads, which a trial of Ray Tune sets to 1."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("technique", ["none", "annealed"])
def test_a_trial_of_ray_tune_trains(technique: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reports an epoch's values; after a divergence the worst accuracy, as the service does."""
    monkeypatch.setattr(whole_study, "OPTIONS", {"dataset": "digits", "depth": 2})
    config = {"technique": technique, "lr": 0.1, "eta": 0.01, "gamma": 0.55, "seed": 1}
    first, second = map(whole_study.epoch, [whole_study.opened(config)] * 2)
    assert second["validation_loss"] < first["validation_loss"]
    diverging = whole_study.opened(config | {"lr": 1e30})
    assert [whole_study.epoch(diverging) for _ in range(3)][-1] == {"validation_accuracy": 0.0}


def test_the_processor_time_of_a_process_grows_with_its_work() -> None:
    before = whole_study.cpu_seconds(os.getpid())
    while whole_study.cpu_seconds(os.getpid()) == before:
        sum(range(100_000))
    assert before > 0
