"""The documents are correct: their code runs, their commands exist, their links resolve, and every
setting and every endpoint is documented.

The language of a fenced block defines what is tested:

`python`   The blocks of a document run one after the other, against a real API, and print the
           `text` block directly below them.
`console`  Each `$ gradnoise ...` exits with 0 and prints the lines below it, where `...` matches
           any text. The document's yaml blocks whose first line is `# NAME.yaml` are files of that
           name in the working directory.
`sh`       Commands for the reader, which are not run. Their programs, make targets, `gradnoise`
           commands and options exist.
`yaml`     A block with a `workload` is a study that the service accepts.
`nginx`, `caddy`  Configurations that tests/service/test_proxies.py runs.
`toml`     A file of the example package contains the block; so for the python blocks of
           docs/own-workload.md. Those of docs/frameworks.md are the files of docs/examples.
`json`     The block parses.
`text`     Output of a program.
"""

import doctest
import itertools
import json
import os
import re
import runpy
import shlex
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from gradnoise_service.domain.catalogue import Catalogue
from gradnoise_service.domain.legal import check
from gradnoise_service.domain.spec import StudySpec
from gradnoise_service.local import ports
from gradnoise_service.prepare_database import prepare_database
from gradnoise_service.report.words.numbers import duration
from gradnoise_service.settings import Settings
from gradnoise_service.store import catalogues
from gradnoise_service.store.database import open_database
from live_api import LiveApi

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
EXAMPLE = ROOT / "docs/own-workload.md"
"""Its code is that of the example package, which has its own tests."""
FRAMEWORKS = ROOT / "docs/frameworks.md"
"""Its code is that of docs/examples, which tests/test_examples.py tests."""
LONG = ("README.md", "gradient-noise.md", "own-training.md", "statistics.md")
"""Documents whose blocks take long: they train, simulate, or import Lightning."""
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(
    r"^```python\n((?:(?!```).*\n)*)```$(?:\n\n```text\n((?:(?!```).*\n)*)```$)?", re.MULTILINE
)
END = "-- end of a block --"
TIMEOUT_SECONDS = 240
LANGUAGES = {"python", "console", "sh", "yaml", "toml", "json", "text", "nginx", "caddy"}
PROGRAMS = {"cd", "curl", "docker", "export", "git", "gradnoise", "make", "pip"}
DOCUMENTED_URL = "http://127.0.0.1:8000"
ENDPOINT = re.compile(r"^\| `(GET|POST|DELETE|PUT|PATCH) (/\S*)` \|", re.MULTILINE)


def blocks(document: Path, language: str) -> list[str]:
    return [
        text
        for found, text in FENCE.findall(document.read_text(encoding="utf-8"))
        if found == language
    ]


def prose(document: Path) -> str:
    return FENCE.sub("", document.read_text(encoding="utf-8"))


def anchor(heading: str) -> str:
    """Return the fragment under which a heading can be linked."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def name_of(document: Path) -> str:
    return str(document.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_block_has_a_known_language(document: Path) -> None:
    assert {
        language for language, _ in FENCE.findall(document.read_text(encoding="utf-8"))
    } <= LANGUAGES


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_resolve(document: Path) -> None:
    """A relative link is the path of a file, and its fragment a heading of that file."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if re.match(r"https?://", target):
            continue
        path, _, fragment = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), f"{name_of(document)} links to {target}, which does not exist"
        if fragment:
            headings = re.findall(r"^#+ (.*)$", prose(file), re.MULTILINE)
            assert fragment in [anchor(heading) for heading in headings], (
                f"{name_of(document)} links to {target}, which is not a heading"
            )


def test_every_setting_is_documented() -> None:
    """docs/configuration.md has a row for each setting: its variable, default and meaning."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        plain = default.get_secret_value() if hasattr(default, "get_secret_value") else default
        shown = f"`{plain}`" if plain not in (None, "") else ""
        rows.append(f"| `GRADNOISE_{name.upper()}` | {shown} | {field.description} |")
    lines = (ROOT / "docs/configuration.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("| `GRADNOISE_")] == rows


def test_every_endpoint_is_documented(openapi: Mapping[str, Any]) -> None:
    """docs/rest.md has a row for each method and path of the OpenAPI description."""
    served = {
        (method.upper(), path) for path, methods in openapi["paths"].items() for method in methods
    }
    assert set(ENDPOINT.findall((ROOT / "docs/rest.md").read_text(encoding="utf-8"))) == served


@pytest.mark.parametrize(
    "document", [path for path in DOCUMENTS if blocks(path, "sh")], ids=name_of
)
def test_commands_for_the_reader_exist(document: Path, openapi: Mapping[str, Any]) -> None:
    """A shell block uses known programs, make targets, commands, options, paths and files."""
    for block in blocks(document, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and re.match(r"[A-Z_]+=", words[0]):
                words.pop(0)
            if words:
                assert words[0] in PROGRAMS, f"{name_of(document)} uses {words[0]!r}"
                check_command(words[0], words[1:], openapi)


def check_command(program: str, words: list[str], openapi: Mapping[str, Any]) -> None:
    match program:
        case "make":
            targets = re.findall(
                r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
            )
            named = {word for word in words if not re.match(r"[A-Z_]+=", word)}
            assert named <= set(targets), f"make {' '.join(words)}"
        case "gradnoise":
            check_gradnoise(words)
        case "docker":
            assert words[0] == "compose", words
            assert all(
                (ROOT / file).exists()
                for option, file in itertools.pairwise(words)
                if option == "-f"
            ), words
        case "curl":
            paths = [
                word.removeprefix(DOCUMENTED_URL).split("?")[0]
                for word in words
                if word.startswith(DOCUMENTED_URL)
            ]
            patterns = [re.sub(r"\{\w+\}", "[^/]+", path) for path in openapi["paths"]]
            assert paths, words
            assert all(
                any(re.fullmatch(pattern, path) for pattern in patterns) for path in paths
            ), paths


def check_gradnoise(words: list[str]) -> None:
    import typer.main

    from gradnoise_service.cli.app import app

    command: Any = typer.main.get_command(app)
    for word in words:
        if word.startswith("-"):
            known = {
                option
                for parameter in command.params
                for option in (*parameter.opts, *parameter.secondary_opts)
            } | {"--help"}
            assert word.split("=")[0] in known, (
                f"gradnoise {' '.join(words)}: {command.name} has no {word}"
            )
        elif hasattr(command, "commands"):
            assert word in command.commands, f"gradnoise {' '.join(words)}: no command {word!r}"
            command = command.commands[word]


@pytest.mark.parametrize(
    "document",
    [path for path in DOCUMENTS if blocks(path, "yaml") or blocks(path, "json")],
    ids=name_of,
)
def test_data_in_documents_is_valid(document: Path) -> None:
    """YAML and JSON blocks parse, and the announced workloads can run the studies among them."""
    from gradnoise.workloads.catalogue import document as announced

    for block in blocks(document, "json"):
        json.loads(block)
    for block in blocks(document, "yaml"):
        plain = yaml.safe_load(block)
        if "workload" in plain:
            spec = StudySpec.model_validate(plain)
            if document != EXAMPLE:  # its workloads are not installed here
                check(Catalogue.of(announced()), spec, max_trials=10_000)


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(path, marks=[pytest.mark.slow] if path.name in LONG else [])
        for path in DOCUMENTS
        if blocks(path, "python") and path not in (EXAMPLE, FRAMEWORKS)
    ],
    ids=name_of,
)
def test_python_blocks_run(document: Path, api: str, tmp_path: Path) -> None:
    """A document's Python blocks run one after the other and print the output shown below them."""
    pairs = PYTHON.findall(document.read_text(encoding="utf-8"))
    program = "".join(f"{block}\nprint({END!r})\n" for block, _ in pairs).replace(
        DOCUMENTED_URL, api
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    for (block, shown), printed in zip(pairs, run.stdout.split(f"{END}\n"), strict=False):
        assert not shown or shown == printed, (
            f"{name_of(document)}: this block\n{block}printed\n{printed}"
        )


def test_speeds_are_those_of_the_results() -> None:
    """docs/gradient-noise.md has a row for each main figure of the benchmark's results."""
    rows = []
    for figure in json.loads(
        (ROOT / "benchmarks/results/bench_noise.json").read_text(encoding="utf-8")
    )["figures"]:
        if not figure["name"].startswith(" "):  # else it details the figure above it
            bar = "".join(
                f"{word.replace('_', ' ')} {figure[word]:g}"
                for word in ("at_least", "at_most")
                if figure[word] is not None
            )
            low, median, high = (
                f"{value:.3g}"
                for value in (min(figure["values"]), figure["median"], max(figure["values"]))
            )
            shown = f"{median} {figure['unit']}"
            if figure["holds"] is False:
                shown = f"**{shown}**"
            rows.append(f"| {figure['name']} | {bar} | {shown} [{low}, {high}] |")
    assert (
        re.findall(
            r"^\|.*\[.*\] \|$",
            (ROOT / "docs/gradient-noise.md").read_text(encoding="utf-8"),
            re.MULTILINE,
        )
        == rows
    )


def test_the_cost_of_the_paper_s_tables_is_that_of_the_results() -> None:
    """README.md has each table's ratios of the trainers, misses in bold, and the time of its full
    scale.
    """
    rows = []
    figures = json.loads(
        (ROOT / "benchmarks/results/bench_workloads.json").read_text(encoding="utf-8")
    )["figures"]
    first = next(i for i, figure in enumerate(figures) if figure["name"].startswith("paper-"))
    for alone, stacked, *_, on_cores, on_gpu in zip(*[iter(figures[first:])] * 8, strict=True):
        preset, n_updates = on_cores["name"].split(" updates")[0].strip().split(", ")
        ratios = (
            f"{mark}{ratio['median']:.2f} x{mark} "
            f"[{min(ratio['values']):.2f}, {max(ratio['values']):.2f}]"
            for ratio, least in ((alone, 0.9), (stacked, 0.95))
            for mark in ("**" if ratio["median"] < least else "",)
        )
        rows.append(
            f"| {preset} | {' | '.join(ratios)} | {n_updates} | "
            f"{float(format(on_cores['median'], '.2g')):,g} h | "
            f"{duration(on_gpu['median'] * 3600)} |"
        )
    assert (
        re.findall(
            r"^\| paper-.*\|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
        )
        == rows
    )


def test_the_scripts_draw_the_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each script in docs/pictures draws the committed picture of its name, in the same size."""
    scripts = list((ROOT / "docs/pictures").glob("*.py"))
    for script in scripts:
        monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path)])
        runpy.run_path(str(script), run_name="__main__")
    names = [script.with_suffix(".png").name for script in scripts]
    drawn, committed = (
        [size_of_png(folder / name) for name in names]
        for folder in (tmp_path, ROOT / "docs/pictures")
    )
    assert drawn == committed != []


def size_of_png(path: Path) -> tuple[int, int]:
    """Return width and height in pixels."""
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    return width, height


@pytest.mark.slow
@pytest.mark.parametrize(
    "document", [path for path in DOCUMENTS if blocks(path, "console")], ids=name_of
)
def test_console_blocks_print_what_they_show(document: Path, api: str, tmp_path: Path) -> None:
    """Each command of a console block exits with 0 and prints the output in the document."""
    for block in blocks(document, "yaml"):
        if name := re.match(r"# ([\w.-]+\.yaml)\n", block):
            (tmp_path / name[1]).write_text(block, encoding="utf-8")
    environment = os.environ | {
        "GRADNOISE_URL": api,
        "COLUMNS": "120",
        "NO_COLOR": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    for block in blocks(document, "console"):
        for line, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            assert line.startswith("gradnoise "), (
                f"{name_of(document)}: a console block runs gradnoise, but got {line!r}"
            )
            run = subprocess.run(
                shlex.split(line),
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
            assert run.returncode == 0, f"{line}: {run.stderr}"
            printed = run.stdout.replace(api, DOCUMENTED_URL)
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            assert not shown or doctest.OutputChecker().check_output(shown, printed, flags), (
                f"{line} printed\n{printed}\nnot\n{shown}"
            )


def test_the_example_package_contains_the_blocks_of_its_document() -> None:
    files = [
        path.read_text(encoding="utf-8")
        for path in (ROOT / "docs/example-package").rglob("*")
        if path.suffix in (".py", ".toml")
    ]
    for block in blocks(EXAMPLE, "python") + blocks(EXAMPLE, "toml"):
        assert any(block in file for file in files), f"no file of the example contains\n{block}"


def test_the_frameworks_page_shows_every_example() -> None:
    files = [path.read_text(encoding="utf-8") for path in (ROOT / "docs/examples").glob("*.py")]
    assert sorted(blocks(FRAMEWORKS, "python")) == sorted(files)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an API that has the catalogue of the workers, but no workers."""
    from gradnoise.workloads.catalogue import document

    home = tmp_path_factory.mktemp("api")
    settings = Settings(home=home, port=ports.free("127.0.0.1"))
    prepare_database(settings.database)
    database = open_database(settings.database)
    with database.session(write=True) as session:
        catalogues.publish(session, document(), datetime.now(UTC))
    live = LiveApi(settings, database)
    live.start()
    yield live.url
    live.stop()
    database.dispose()


@pytest.fixture(scope="module")
def openapi(api: str) -> Mapping[str, Any]:
    """The OpenAPI description of the running API."""
    answer: Mapping[str, Any] = httpx2.get(
        f"{api}/openapi.json", timeout=TIMEOUT_SECONDS, trust_env=False
    ).json()
    return answer
