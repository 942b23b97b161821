"""PaperTable merges its parts into studies, and refuses inconsistent tables."""

import doctest
from typing import Any

import pytest
from pydantic import ValidationError

from gradnoise_service.presets import paper_table
from gradnoise_service.presets.paper_table import PaperTable


def test_examples() -> None:
    result = doctest.testmod(paper_table)
    assert result.attempted > 0
    assert result.failed == 0


def test_study_of_a_row_merges_table_row_and_scale() -> None:
    """Mappings merge key by key, anything else is replaced; the row's scale comes last."""
    table = PaperTable.model_validate(
        {
            "name": "t",
            "description": "d",
            "study": {"space": {"lr": 0.1}, "arms": [1, 2], "confirm": {"n_seeds": 9, "epochs": 8}},
            "rows": [
                {
                    "name": "a",
                    "title": "A",
                    "study": {"space": {"clip_norm": 10.0}, "arms": [3]},
                    "scales": {"quick": {"confirm": {"epochs": 1}}},
                },
                {"name": "b", "title": "B"},
            ],
            "scales": {"quick": {"confirm": {"n_seeds": 2}}, "full": {}},
        }
    )
    a, b = table.studies("quick")
    assert (a["name"], a["space"], a["arms"], a["confirm"]) == (
        "t a quick",
        {"lr": 0.1, "clip_norm": 10.0},
        [3],
        {"n_seeds": 2, "epochs": 1},
    )
    assert (b["name"], b["space"], b["arms"], b["confirm"]) == (
        "t b quick",
        {"lr": 0.1},
        [1, 2],
        {"n_seeds": 2, "epochs": 8},
    )
    assert [plain["name"] for plain in table.studies("full")] == ["t a", "t b"]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"row": []}, "row"),
        ({"rows": []}, "rows"),
        ({"rows": [{"name": "a", "title": "A", "arms": []}]}, "rows.0.arms"),
        ({"rows": [{"name": "a", "title": "A"}, {"name": "a", "title": "B"}]}, "different names"),
        ({"rows": [{"name": "a", "title": "A", "scales": {"half": {}}}]}, "does not have"),
        (
            {
                "rows": [
                    {
                        "name": "a",
                        "title": "A",
                        "paper": [{"statistic": "worst", "values": {"x": 1}}],
                    }
                ]
            },
            "statistic",
        ),
        (
            {
                "rows": [
                    {
                        "name": "a",
                        "title": "A",
                        "paper": [{"statistic": "reached", "values": {"x": 1}}],
                    }
                ]
            },
            "threshold",
        ),
        (
            {
                "rows": [
                    {
                        "name": "a",
                        "title": "A",
                        "paper": [{"statistic": "best", "values": {"x": 1}, "threshold": 1}],
                    }
                ]
            },
            "threshold",
        ),
        ({"scales": {"quick": {}}}, "full"),
        ({"scales": {"full": {"seed": 2}}}, "full"),
    ],
    ids=str,
)
def test_inconsistent_table_is_refused(change: dict[str, Any], fault: str) -> None:
    """Unknown keys, duplicate rows, unknown scales, inconsistent figures and full scales."""
    sound = {
        "name": "t",
        "description": "d",
        "study": {},
        "rows": [{"name": "a", "title": "A"}],
        "scales": {"quick": {}, "full": {}},
    }
    assert PaperTable.model_validate(sound).rows[0].name == "a"
    with pytest.raises(ValidationError, match=fault):
        PaperTable.model_validate(sound | change)
