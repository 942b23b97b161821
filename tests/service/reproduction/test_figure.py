"""The picture of a paper table describes its claims."""

from pathlib import Path
from xml.etree import ElementTree


def test_picture_describes_every_claim(page: str, tmp_path: Path) -> None:
    """The description of the SVG lists the claims of all rows that ran."""
    assert "(pictures/paper-table-9.svg)" in page
    picture = ElementTree.parse(tmp_path / "pictures" / "paper-table-9.svg")
    text = "".join(picture.getroot().itertext())
    assert "Row | A, noisy: the paper +0.096, here +0.2 (" in text
    assert "Row B, noisy-1.0: the paper –, here 0 (0 to 0), not in the paper" in text
