"""A filter admits the studies that satisfy all of its conditions."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from gradnoise_service.domain.errors import NotFoundError
from gradnoise_service.domain.hashes import spec_hash
from gradnoise_service.domain.remarks import Remarks, StudyFilter
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.domain.study import Metric, Study
from gradnoise_service.store import leases, studies
from gradnoise_service.store.database import Database

METRIC = Metric(name="accuracy", direction="maximize", worst=0.0)
CASES: list[tuple[dict[str, object], str]] = [
    ({}, "abc"),
    ({"name": "a"}, "a"),
    ({"state": "queued"}, "bc"),
    ({"verdict": "helps"}, "a"),
    ({"workload": "mlp"}, "ab"),
    ({"owner": "ada"}, "ac"),
    ({"tag": "thesis"}, "ab"),
    ({"tag": "the"}, ""),
    ({"tag": "t_esis"}, ""),
    ({"text": "DROPPED_"}, "b"),
    ({"text": "50 %"}, "a"),
    ({"text": "%"}, "a"),
    ({"text": "thes"}, "ab"),
    ({"text": "c"}, "c"),
    ({"tag": "thesis", "owner": "bob"}, "b"),
    ({"tag": "thesis", "state": "queued", "owner": "ada"}, ""),
]


def test_a_filter_admits_what_satisfies_all_conditions(
    database: Database, make_spec: Callable[..., StudySpec], now: datetime
) -> None:
    submitted: list[Study] = []
    with database.session(write=True) as session:
        for name, owner, workload in (
            ("a", "ada", "mlp"),
            ("b", "bob", "mlp"),
            ("c", "ada", "other"),
        ):
            spec = make_spec(name=name, workload=workload)
            submitted.append(studies.submit(session, spec, METRIC, owner=owner, now=now))
        a, b, _ = submitted
        noted = Remarks(tags=["thesis", "thesis", "draft"], note="50 % done")
        before, remarked = a, studies.remark(session, a.id, "ada", noted)
        assert (remarked.tags, remarked.note) == (("draft", "thesis"), "50 % done")
        assert spec_hash(remarked.spec) == spec_hash(before.spec)
        studies.remark(session, b.id, None, Remarks(tags=["thesis"], note="a dropped_out run"))
        assert studies.remark(session, b.id, None, Remarks()).tags == ("thesis",)
        with pytest.raises(NotFoundError):
            studies.remark(session, a.id, "bob", Remarks(note=""))
        acquired = leases.acquire(session, "d", now, timedelta(seconds=30))
        assert acquired is not None
        leases.complete(session, acquired[1], now, {}, "helps")
        for conditions, names in CASES:
            only = StudyFilter(**conditions)  # type: ignore[arg-type]  # fields by name
            found = studies.page(session, owner=None, before=None, limit=9, only=only)
            assert "".join(s.spec.name for s in found[::-1]) == names, conditions
        only = StudyFilter(owner="bob")
        assert studies.page(session, owner="ada", before=None, limit=9, only=only) == []
