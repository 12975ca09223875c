"""The front door: links outside a checkout, the site's pages, what tox and the workflows name."""

from __future__ import annotations

import configparser
import importlib
import importlib.util
import json
import re
import tomllib
from pathlib import Path, PurePosixPath

import pytest

import ferkit
import ferkit.train

ROOT = Path(__file__).resolve().parents[2]
TEXT = """A [page](docs/video.md#rows) and ![a picture](docs/images/a.png), [elsewhere](https://example.org), [here](#below).
```md
[code](docs/video.md)
```
"""


@pytest.fixture(scope="module")
def hatch_build(pytestconfig: pytest.Config) -> object:
    pytest.importorskip("hatchling", reason='needs the extra docs: pip install "ferkit[docs]"')
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs"))
        return importlib.import_module("hatch_build")


def test_links_lead_to_the_public_address(hatch_build: object) -> None:
    text = hatch_build.publish_links(TEXT, PurePosixPath("README.md"), hatch_build.to_repository("https://example.org/ferkit"))
    assert "[page](https://example.org/ferkit/blob/main/docs/video.md#rows)" in text
    assert "![a picture](https://example.org/ferkit/raw/main/docs/images/a.png)" in text
    assert "[elsewhere](https://example.org), [here](#below)" in text
    assert "[code](docs/video.md)" in text


def test_without_an_address_nothing_links_to_what_does_not_exist(hatch_build: object) -> None:
    text = hatch_build.publish_links(TEXT, PurePosixPath("README.md"), hatch_build.to_repository(""))
    assert text.startswith("A page and , [elsewhere](https://example.org), [here](#below).")


def test_links_are_relative_to_their_page(hatch_build: object) -> None:
    seen = []
    hatch_build.publish_links("[a](../LICENSE)", PurePosixPath("docs/api.md"), lambda path, image: seen.append((str(path), image)))
    assert seen == [("LICENSE", False)]


def test_the_address_stands_in_one_place(hatch_build: object) -> None:
    """No other file of ours may name where the project lives; while the address is empty, none can be checked for."""
    repository = hatch_build.addresses(ROOT)["repository"]
    named = ["README.md", "mkdocs.yml", "CITATION.cff", *(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))]
    for name in named:
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(r"github\.com/[\w.-]+/ferkit|\.github\.io/ferkit|ferkit\.readthedocs", text), name
        assert not repository or repository not in text, name


def test_every_public_name_has_its_place_on_the_site() -> None:
    shown = {
        name for page in (ROOT / "docs" / "reference").glob("*.md") for name in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.M)
    }
    rooms = ["ferkit", *(f"ferkit.{room}" for room in ("bulk", "data", "evaluation", "explain", "train", "video"))]
    public = {f"{room}.{name}" for room in rooms for name in importlib.import_module(room).__all__}
    # What a room has from another one is shown there.
    moved = {
        "ferkit.train.evaluate": "ferkit.evaluation.evaluate",
        "ferkit.video.frames": "ferkit.frames",
        "ferkit.bulk.batch": "ferkit.batch",
    }
    assert {moved.get(name, name) for name in public} <= {moved.get(name, name) for name in shown}
    protocols = {
        f"ferkit.protocols.{name}" for name in ("Detector", "Classifier", "Engine", "Predicts", "Abstains", "Describes", "Prepares")
    }
    assert protocols <= shown


def test_docstrings_are_written_for_the_site() -> None:
    """The site shows Markdown: a role of Sphinx would stand there as it is."""
    found = [
        path.name for path in (ROOT / "src").rglob("*.py") if re.search(r":(func|class|meth|mod|attr|exc|data):`", path.read_text("utf-8"))
    ]
    assert not found


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert not {page for page in pages if not page.startswith(("zoo/", "deploy/")) and f": {page}\n" not in text}


def test_ci_and_workflows_name_environments_that_exist() -> None:
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    known = {"test", "opencv4", "opencv5", "light", *(name.removeprefix("testenv:") for name in tox.sections())}
    for path in (ROOT / ".ci" / "run", *(ROOT / ".github").rglob("*.yml")):
        for names in re.findall(r"tox run [^\n]*?-e ([\w,$]+)", path.read_text(encoding="utf-8")):
            assert {name for name in names.split(",") if "$" not in name} <= known, f"{path}: {names}"


def test_every_release_is_in_the_wheel_and_in_the_source_archive() -> None:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    names = {release.name for release in ferkit.list_weights() if release.hub is None}
    assert table["wheel"]["force-include"] == {f"weights/{name}": f"ferkit/_weights/{name}" for name in names}
    assert {path.removeprefix("/weights/") for path in table["sdist"]["include"] if path.startswith("/weights/")} == names


def test_every_card_says_what_the_data_allow() -> None:
    cards = [ROOT / "weights" / release.name / "card.md" for release in ferkit.list_weights() if release.hub is None]
    assert cards
    for card in cards:
        assert card.read_text(encoding="utf-8").count("\n## Data and licences\n") == 1, card


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "RELEASING.md", "SECURITY.md"])
def test_files_that_contributors_are_sent_to_exist(name: str) -> None:
    """Paths in code spans, but those with a NAME that is the reader's to fill in."""
    spans = re.findall(r"`((?:src|tests|benchmarks|docs|weights|\.ci|examples)/[\w./-]*)`", (ROOT / name).read_text(encoding="utf-8"))
    assert not [path for path in spans if "NAME" not in path and not (ROOT / path).exists()]


def test_the_tables_of_the_readme_are_made_from_what_was_measured() -> None:
    """A peer's row is what the results file says: a changed figure makes the check fail."""
    spec = importlib.util.spec_from_file_location("build", ROOT / "docs" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    measured = json.loads((ROOT / "benchmarks" / "results" / "peers.json").read_text(encoding="utf-8"))
    table = build.peers_table(measured)
    assert build.between((ROOT / "README.md").read_text(encoding="utf-8"), "peers") == table
    next(iter(measured["peers"].values()))["photos"]["all_three"]["accuracy"] = 0.123
    assert "12.3%" in build.peers_table(measured)
