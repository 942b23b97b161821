"""The reference of the study file is current and complete."""

from pathlib import Path

from gradnoise_service.domain.reference import reference

PAGE = Path(__file__).resolve().parents[3] / "docs/study-file.md"


def test_the_page_is_current() -> None:
    """Otherwise write it again: `gradnoise study-file --output docs/study-file.md`."""
    assert PAGE.read_text(encoding="utf-8") == reference()


def test_every_field_has_legal_values_and_a_meaning() -> None:
    rows = [line.split(" | ") for line in reference().splitlines() if line.startswith("| `")]
    assert len(rows) > 40
    assert [row for row in rows if len(row) != 4 or not all(cell.strip(" |") for cell in row)] == []
    tables = reference().split("\n## ")[1:]
    titles = [table.split("\n", 1)[0] for table in tables]
    assert {"StudySpec", "Arm", "Range", "Choices", "Search", "Pruner", "Confirm"} <= set(titles)
    assert len(set(titles)) == len(titles)


def test_defaults_are_those_of_the_schema() -> None:
    text = reference()
    assert "| `seed` | a whole number, at least 0, below 281474976710656 | `0` |" in text
    assert "| `log` | true or false | `false` |" in text
    assert "| `n_seeds` | a whole number, at least 2, at most 1000000 | - |" in text
    assert "| `search` | a mapping: [Search](#search) | - |" in text
