"""The hashes change with what they cover and with nothing else."""

import dataclasses
import hashlib
import json
from collections.abc import Callable

from gradnoise_service.domain.hashes import results_hash, spec_hash, with_results_hash
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Trial

Make = Callable[..., StudySpec]


def test_the_hash_of_a_spec_is_the_sha256_of_its_json(make_spec: Make) -> None:
    spec = make_spec()
    text = json.dumps(spec.model_dump(mode="json"), separators=(",", ":"), ensure_ascii=False)
    assert spec_hash(spec) == hashlib.sha256(text.encode()).hexdigest()
    assert spec_hash(StudySpec.model_validate_json(text)) == spec_hash(spec)
    assert spec_hash(make_spec(seed=2)) != spec_hash(spec)


def test_the_hash_of_results_covers_what_was_run_and_measured() -> None:
    trial = Trial(
        id=1,
        study_id=1,
        phase="search",
        arm="noisy",
        number=0,
        seed=5,
        budget_epochs=3,
        state="complete",
        params={"lr": 0.1, "eta": 0.3},
        value=0.1 + 0.2,
    )
    other = dataclasses.replace(trial, number=1)
    both = results_hash([trial, other])
    assert results_hash([other, trial]) == both
    unchanged = {"params": {"eta": 0.3, "lr": 0.1}, "device_seconds": 9.0, "n_attempts": 3, "id": 8}
    assert results_hash([dataclasses.replace(trial, **unchanged), other]) == both
    for change in ({"value": 0.3}, {"seed": 6}, {"diverged": True}, {"params": {"lr": 0.1}}):
        assert results_hash([dataclasses.replace(trial, **change), other]) != both
    protocol = {"device": "a core", "hashes": {"spec": "s", "code": "c"}}
    hashes = {"spec": "s", "code": "c", "results": both}
    assert with_results_hash(protocol, [trial, other]) == protocol | {"hashes": hashes}
