"""The README and the pages of docs/: their Python runs, their commands parse, their links lead somewhere."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import ferkit
import ferkit.data
import ferkit.evaluation
import ferkit.train
from ferkit.cli.main import main
from tests.helpers import films

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
IDS = [page.relative_to(ROOT).as_posix() for page in PAGES]
# Commands that are only parsed: they take minutes, or the network, or weights that do not exist.
PARSED_ONLY = (
    "ferkit webcam",
    "ferkit train",  # and train-detector
    "ferkit finetune",
    "ferkit weights fetch",
    "hf://",
    "runs/",
    "yunet",
    "KERAS_BACKEND",
    "--weights mine",
)


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """Return ``(line number of the first line, code)`` for every fenced block in a language."""
    found, start, lines = [], None, page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if start is None and line == f"```{language}":
            start = number + 1
        elif start is not None and line == "```":
            found.append((start, "\n".join(lines[start - 1 : number - 1])))
            start = None
    assert start is None, f"{page}: the block at line {start} has no end"
    return found


def commands(page: Path) -> list[str]:
    """Return the lines of ``console`` blocks that begin with a prompt."""
    return [line[2:] for _, code in blocks(page, "console") for line in code.splitlines() if line.startswith("$ ")]


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    committed = ROOT / "docs" / "images" / "photo.jpg"
    if committed.exists():
        return committed
    data = pytest.importorskip("skimage.data", reason="docs/images/photo.jpg is missing and scikit-image is not installed")
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    Image.fromarray(data.astronaut()).save(path, quality=92)
    return path


@pytest.fixture
def here(tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with everything that the pages name, and no network."""
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for name in ("photo.jpg", "photos/a.jpg", "photos/more/b.jpg"):
        shutil.copyfile(photo, tmp_path / name)
    if importlib.util.find_spec("av"):
        with Image.open(photo) as picture:
            films.write(tmp_path / "film.mp4", [np.asarray(picture.convert("RGB").resize((360, 360)))] * 40)
    rng = np.random.default_rng(0)
    rows, votes = ["emotion,pixels,Usage"], ["Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"]
    for split in ("Training", "PublicTest", "PrivateTest"):
        for number in range(28):
            rows.append(f"{number % 7},{' '.join(map(str, rng.integers(0, 256, 48 * 48)))},{split}")
            votes.append(f"{split},x.png,{number % 3},5,0,0,1,0,0,0,0,0")
    (tmp_path / "fer2013.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "fer2013new.csv").write_text("\n".join(votes) + "\n", encoding="utf-8")
    for label in ("happy", "sad"):
        for split in ("train", "validation"):
            (tmp_path / "my_faces" / split / label).mkdir(parents=True)
            for number in range(8):
                face = Image.fromarray(rng.integers(0, 256, (48, 48), dtype=np.uint8))
                face.save(tmp_path / "my_faces" / split / label / f"{number}.png")
    recipe = (ROOT / "examples" / "tiny.toml").read_text(encoding="utf-8")
    (tmp_path / "tiny.toml").write_text(re.sub(r"epochs = \d+", "epochs = 1", recipe), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FERKIT_OFFLINE", "1")
    return tmp_path


def page_parameters() -> list[object]:
    marks = {"training.md": (pytest.mark.train, pytest.mark.slow), "without_ferkit.md": (pytest.mark.train,)}
    return [
        pytest.param(page, id=name, marks=marks.get(page.name, ())) for page, name in zip(PAGES, IDS, strict=True) if blocks(page, "python")
    ]


@pytest.mark.parametrize("page", page_parameters())
def test_python_blocks_run(page: Path, here: Path) -> None:
    """All blocks of a page run as one script in a fresh interpreter, at the page's own line numbers."""
    trains = page.name == "training.md"
    if trains and not all(importlib.util.find_spec(name) for name in ("keras", "tensorflow", "onnx")):
        pytest.skip('needs the train extra: pip install "ferkit[train]"')
    lines: list[str] = []
    for start, code in blocks(page, "python"):
        lines += [""] * (start - 1 - len(lines)) + code.splitlines()
    script = here / f"{page.stem}.py"
    script.write_text("\n".join(lines) + "\n", encoding="utf-8")
    strict = [] if trains else ["-W", "error"]  # what Keras and its converters warn about is not ours
    run = subprocess.run([sys.executable, *strict, str(script)], cwd=here, capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"{page}:\n{run.stderr[-3000:]}"
    assert trains or run.stderr == ""


def parse(words: list[str]) -> None:
    """Parse a ``ferkit`` command line as click would, without running it."""
    command: click.Command = main
    context = command.make_context("ferkit", list(words))
    while isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None, f"no command {name!r}"
        command = found
        context = command.make_context(name, list(rest), parent=context)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=name, marks=pytest.mark.train if page.name in ("training.md", "without_ferkit.md") else ())
        for page, name in zip(PAGES, IDS, strict=True)
    ],
)
def test_commands_parse_and_run(page: Path, here: Path) -> None:
    for line in commands(page):
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
        assert "ferkit" in words, f"{page}: {line}"
        given = words[words.index("ferkit") + 1 :]
        given = given[: given.index(">")] if ">" in given else given
        parse(given)
        if any(part in line for part in PARSED_ONLY):
            continue
        standard_input = (here / "photo.jpg").read_bytes() if "|" in words else None
        answer = CliRunner().invoke(main, given, input=standard_input)
        assert answer.exit_code == 0, f"{page}: {line}\n{answer.output}"


def test_readme_shows_what_it_prints(here: Path) -> None:
    """The printed examples have the shape of real ones: the same keys, faces and types, whatever the numbers."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = json.loads(text.split("<!-- answered -->")[1].split("```")[1].partition("ferkit predict")[2].partition("\n")[2])
    real = json.loads(CliRunner().invoke(main, ["predict", "photo.jpg"]).stdout)

    def shape(value: object) -> object:
        if isinstance(value, dict):
            return {key: shape(item) for key, item in value.items()}
        return [shape(item) for item in value] if isinstance(value, list) else type(value)

    assert shape(shown) == shape(real)
    assert re.fullmatch(r"\[\d+, \d+, \d+, \d+\] [a-z]+ [01]\.\d+", text.split("<!-- printed -->")[1].split("\n")[2])


def test_test_command_is_where_ci_reads_it() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"<!-- test-command -->\n```sh\n(.+)\n```\n", text)
    assert len(found) == 1
    assert found[0].endswith("-m pytest")


def test_weights_table_is_up_to_date() -> None:
    build = [sys.executable, str(ROOT / "docs" / "build.py"), "--check"]
    run = subprocess.run(build, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_zoo_tables_are_up_to_date() -> None:
    run = subprocess.run([sys.executable, str(ROOT / "docs" / "zoo.py"), "--check"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_the_services_tables_are_up_to_date() -> None:
    run = subprocess.run([sys.executable, str(ROOT / "docs" / "service.py"), "--check"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_every_benchmark_is_listed() -> None:
    listed = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    scripts = {path.name for path in (ROOT / "benchmarks").glob("[!_]*.py")}
    assert scripts
    assert not {script for script in scripts if f"`{script}`" not in listed}


WRITTEN = [*PAGES, *sorted(ROOT.glob("*[A-Z].md")), *sorted((ROOT / "docs" / "reference").glob("*.md")), ROOT / "benchmarks" / "README.md"]


@pytest.mark.parametrize("page", dict.fromkeys(WRITTEN), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_prose_is_wrapped_at_100_columns(page: Path) -> None:
    """A changed sentence is then a few changed lines. Code, tables and pictures stay whole, and so does what has no space in it."""
    prose = re.sub(r"^( *```).*?^\1$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    whole = re.compile(r"\||!\[|\s*`[^`]*`\S*$")
    assert not [line for line in prose.splitlines() if len(line) > 100 and not whole.match(line)]


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=[*IDS, "CHANGELOG.md"])
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page}: {link}"
        assert target.is_relative_to(ROOT), f"{page}: {link} leaves the checkout"
        assert not anchor or anchor in anchors(target), f"{page}: {link}"


def test_every_public_method_is_documented() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for cls in (
        ferkit.Pipeline,
        ferkit.FaceDetector,
        ferkit.ExpressionClassifier,
        ferkit.Ensemble,
        ferkit.Result,
        ferkit.Face,
        ferkit.Expression,
        ferkit.LabelSet,
    ):
        section = text.split(f"\n## {cls.__name__}\n")[1].split("\n## ")[0]
        missing = [name for name in vars(cls) if not name.startswith("_") and not re.search(rf"\b{name}\b", section)]
        assert not missing, f"{cls.__name__}: {missing}"


def test_every_error_has_its_cures() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    errors = [name for name in ferkit.__all__ if name.endswith("Error")]
    assert not [name for name in errors if name not in text]


def options(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        return [pair for name in command.list_commands(context) for pair in options(command.get_command(context, name), (*path, name))]
    flags = [flag for p in command.params for flag in p.opts if flag.startswith("--")]
    return [(" ".join(path), flag) for flag in flags] or [(" ".join(path), "")]


@pytest.mark.parametrize(("command", "flag"), options(main))
def test_every_option_is_documented(command: str, flag: str) -> None:
    section = (ROOT / "docs" / "api.md").read_text(encoding="utf-8").split("## Command line")[1]
    mine = re.split(rf"### ferkit {command.split(maxsplit=1)[0]}(?![-\w])", section)
    assert len(mine) == 2, f"ferkit {command} has no section"
    part = mine[1].split("\n### ")[0]
    assert f"{flag}" in part, f"ferkit {command} {flag}"
    assert command.rsplit(maxsplit=1)[-1] in f"{command.split(maxsplit=1)[0]}{part}"


def test_no_page_names_a_place_on_someones_machine() -> None:
    pages = [*PAGES, *(ROOT / "examples").glob("*"), ROOT / "CHANGELOG.md", ROOT / "CITATION.cff", ROOT / "docs" / "build.py"]
    for page in (p for p in pages if p.is_file()):
        assert not re.search(
            rf"(?<![\w.])/(home|root|work|tmp|Users)/|{re.escape(str(ROOT.parent))}{os.sep}", page.read_text(encoding="utf-8")
        ), page
