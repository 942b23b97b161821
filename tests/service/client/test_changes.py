"""A change is made at its path, or refused with what there is."""

import pytest

from gradnoise_service.client import ClientError
from gradnoise_service.client.changes import changed

VALUES = {"seed": 1, "arms": [{"name": "baseline"}, {"name": "noisy", "space": {"eta": 1}}]}


def test_a_list_is_entered_by_name_or_position() -> None:
    by_name = changed(VALUES, {"arms.noisy.space.eta": 2, "search.epochs": 3})
    assert by_name["arms"][1]["space"] == {"eta": 2}
    assert by_name["search"] == {"epochs": 3}
    assert changed(VALUES, {"arms.1.space.eta": 2})["arms"] == by_name["arms"]
    assert changed(VALUES, {"arms.baseline": {"name": "none"}})["arms"][0] == {"name": "none"}
    removed = changed(VALUES, {"seed": 2, "arms.noisy.more": 3}, ["seed", "arms.0", "arms.0.space"])
    assert removed == {"seed": 2, "arms": [{"name": "noisy", "more": 3}]}
    assert VALUES["arms"][1] == {"name": "noisy", "space": {"eta": 1}}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("seed.more", "seed is 1, which has no fields"),
        ("arms.loud.space.eta", "loud is no entry of the list; it has baseline, noisy"),
        ("arms.2", "2 is no entry"),
    ],
)
def test_a_path_to_nothing_is_refused(path: str, message: str) -> None:
    with pytest.raises(ClientError, match=message):
        changed(VALUES, {path: 0})
    with pytest.raises(ClientError, match=message):
        changed(VALUES, {}, [path])


def test_what_is_missing_cannot_be_removed() -> None:
    with pytest.raises(ClientError, match=r"search\.lag cannot be removed"):
        changed(VALUES, {}, ["search.lag"])
