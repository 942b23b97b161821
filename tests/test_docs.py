"""The documents say what is true: their code runs, their commands exist, their links lead somewhere, no setting and no endpoint is missing.

What a fenced block's language promises:

`python`   runs, all blocks of a document one after the other, against a real API;
`console`  runs: each `$ gradnoise ...` must end with 0 and print what stands below it, where `...` stands for anything;
`sh`       is for the reader to type: its programs, make targets, `gradnoise` commands and options exist;
`yaml`     with a `workload` in it is a study that the service would take;
`toml`     stands verbatim in the example package; so does a python block of docs/own-workload.md;
`json`     parses; `text` is what a program printed.
"""

import re
from pathlib import Path

import pytest

from service.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LANGUAGES = {"python", "console", "sh", "yaml", "toml", "json", "text"}


def blocks(document: Path, language: str) -> list[str]:
    return [text for found, text in FENCE.findall(document.read_text(encoding="utf-8")) if found == language]


def prose(document: Path) -> str:
    return FENCE.sub("", document.read_text(encoding="utf-8"))


def anchor(heading: str) -> str:
    """Return the fragment under which a heading can be linked."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def name_of(document: Path) -> str:
    return str(document.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_block_says_what_it_is(document: Path) -> None:
    """A fenced block has a language whose promise is tested."""
    assert {language for language, _ in FENCE.findall(document.read_text(encoding="utf-8"))} <= LANGUAGES


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_to_files_and_headings(document: Path) -> None:
    """A relative link names a file of the repository, and a fragment one of its headings."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if re.match(r"https?://", target):
            continue
        path, _, fragment = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), f"{name_of(document)} links to {target}, which does not exist"
        if fragment:
            headings = re.findall(r"^#+ (.*)$", prose(file), re.MULTILINE)
            assert fragment in [anchor(heading) for heading in headings], f"{name_of(document)} links to {target}, which is no heading"


def test_every_setting_is_documented() -> None:
    """docs/configuration.md has exactly one row for each setting: its variable, its default, its meaning."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        plain = default.get_secret_value() if hasattr(default, "get_secret_value") else default
        shown = f"`{plain}`" if plain not in (None, "") else ""
        rows.append(f"| `GRADNOISE_{name.upper()}` | {shown} | {field.description} |")
    lines = (ROOT / "docs/configuration.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("| `GRADNOISE_")] == rows
