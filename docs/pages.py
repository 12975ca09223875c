"""The site's pages that do not lie in docs/ (a hook of mkdocs.yml): the README, the cards, the files for contributors.

Links are relative in every file, as a checkout needs them. On the site they lead to the page that a file became; where a file is
no page, to the project's public address ([tool.ferkit] in pyproject.toml), or, while it has none, nowhere: their text stays.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))
from hatch_build import addresses, publish_links, to_repository  # noqa: E402

ADDRESSES = addresses(ROOT)
# A file of the repository to its page on the site.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CODE_OF_CONDUCT.md": "project/conduct.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "RELEASING.md": "project/releasing.md",
    "SECURITY.md": "project/security.md",
}
STACKED = ("errors.md",)
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]{1,20}")
CARDS = {f"weights/{card.parent.name}/card.md": f"cards/{card.parent.name}.md" for card in ROOT.glob("weights/*/card.md")}


def on_config(config: MkDocsConfig) -> None:
    """Take the addresses from the one place where they stand."""
    config.site_url = ADDRESSES["site"] or None
    config.repo_url = ADDRESSES["repository"] or None
    assert config.nav is not None
    config.nav.append({"Model cards": sorted(CARDS.values())})


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files that become pages though they lie elsewhere."""
    for source, page in {**PAGES, **CARDS}.items():
        if (ROOT / source).exists():
            text = (ROOT / source).read_text(encoding="utf-8")
            files.append(File.generated(config, page, content=_led(text, source, page, files)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - MkDocs names them
    """Lead the links of a page of docs/ that leave it."""
    if not page.file.generated_by:
        markdown = _led(markdown, f"docs/{page.file.src_uri}", page.file.src_uri, files)
    # A plot of several panels is small on a phone: a picture with a line to itself leads to its file.
    return re.sub(r"^(!\[[^\]\n]*\]\(([^)\n]+)\))$", r"[\1](\2)", markdown, flags=re.MULTILINE)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - MkDocs names them
    """Mark what site.css treats apart: names in code that are not to be cut, and pages whose rows of sentences become cards on a phone."""
    html = re.sub(r"(?<!<pre>)<code>([^<\s]{1,24})</code>", r'<code class="whole">\1</code>', html)
    # A line may end inside a longer piece, but not between the hyphens of an option.
    html = re.sub(r"(?<!<pre>)<code>[^<]+</code>", lambda code: OPTION.sub(r'<span class="whole">\g<0></span>', code[0]), html)
    return f'<div class="stacked">{html}</div>' if page.file.src_uri in STACKED else html


def _led(text: str, source: str, page: str, files: Files) -> str:
    def lead(path: PurePosixPath, image: bool) -> str | None:
        there = {**PAGES, **CARDS}.get(str(path))
        if there is None and path.is_relative_to("docs"):
            there = str(path.relative_to("docs"))
            found = files.get_file_from_path(there)
            there = there if found is not None and found.inclusion.is_included() else None
        if there is None:
            return to_repository(ADDRESSES["repository"])(path, image)
        return posixpath.relpath(there, posixpath.dirname(page) or ".")

    return publish_links(text, PurePosixPath(source), lead)
