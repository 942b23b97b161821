"""Pages and report share their colours."""

import re
from pathlib import Path

from gradnoise_service.report import palette
from gradnoise_service.web import templating

SHEET = Path(templating.FOLDER / "static" / "style.css").read_text(encoding="utf-8")


def test_pages_and_report_have_the_same_colours() -> None:
    """Colours that both define have the same value, in light and in dark."""
    light, dark = (
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))
        for block in re.findall(r":root \{(.*?)\}", SHEET, re.DOTALL)
    )
    assert {"paper", "ink", "good", "bad"} <= set(light) & set(palette.LIGHT)
    assert light.keys() == dark.keys()
    for ours, theirs in ((light, palette.LIGHT), (dark, palette.DARK)):
        assert {name: ours[name] for name in ours if name in theirs} == {
            name: theirs[name] for name in ours if name in theirs
        }


def test_every_used_colour_is_defined() -> None:
    defined = set(re.findall(r"--([a-z-]+):", SHEET))
    assert set(re.findall(r"var\(--([a-z-]+)\)", SHEET)) == defined
