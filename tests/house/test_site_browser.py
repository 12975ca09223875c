"""Every page of the site in a real browser, on a desktop and on a phone: what would shame us before a reader, where a rule can see it.

Leaves a screenshot of each page in FERKIT_SCREENSHOTS, if that is set.
"""

from __future__ import annotations

import functools
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

import pytest

pytest.importorskip("mkdocstrings", reason='needs the extra docs: pip install "ferkit[docs]"')
pytest.importorskip("material", reason='needs the extra docs: pip install "ferkit[docs]"')
pytest.importorskip("playwright.sync_api", reason="needs playwright")

from tests.helpers.browsing import MARKS, PHONE, browser, faults, shoot

__all__ = ["browser"]  # a fixture

pytestmark = MARKS

ROOT = Path(__file__).resolve().parents[2]
WIDTHS = {
    "desktop": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "phone": PHONE,  # dark
}
OURS = ("color-contrast", "link-in-text-block", "empty-table-header", "image-alt", "heading-order", "list", "listitem")
# What a page holds, in one look: its links and anchors too, which are followed once all pages are known.
LOOK = """() => {
    const seen = (e) => e.checkVisibility({ visibilityProperty: true });
    const words = (e) => `${e.tagName.toLowerCase()} "${(e.innerText || e.outerHTML).trim().slice(0, 60)}"`;
    const article = document.querySelector("article");
    const headings = [...article.querySelectorAll("h1, h2, h3, h4, h5, h6")].filter(seen);
    const level = (e) => Number(e.tagName[1]);
    return {
        high: document.documentElement.scrollHeight,
        wide: document.documentElement.scrollWidth,
        // What is cut: neither the page nor the element scrolls to it.
        cut: [...article.querySelectorAll("h1, h2, h3, h4, p, li, img, td, pre, .md-typeset__scrollwrap")].filter((e) => {
            const scrolls = e.closest("pre, .md-typeset__scrollwrap");
            return seen(e) && (!scrolls || scrolls === e) && e.getBoundingClientRect().right > innerWidth + 1;
        }).map(words),
        // A table whose first column leaves no room for what it is about.
        crowded: [...article.querySelectorAll("table")].filter((e) => seen(e) && e.rows[1].cells.length > 1 && getComputedStyle(e.rows[1]).display === "table-row" &&
            e.rows[1].cells[0].offsetWidth > 0.6 * e.closest(".md-typeset__scrollwrap").offsetWidth).map(words),
        // An example that is quoted instead of set as code, and a paragraph in bold that should be a heading.
        quoted: [...article.querySelectorAll("blockquote blockquote")].map(words),
        bold: [...article.querySelectorAll("p")].filter((e) => e.children.length === 1 && e.firstElementChild.tagName === "STRONG" &&
            e.innerText === e.firstElementChild.innerText && !e.closest(".doc")).map(words),
        // Two attributes in one entry of a docstring: the second is taken for the type of the first.
        paired: [...article.querySelectorAll("li b code, li strong code")].filter((e) => e.innerText.trim().endsWith(",")).map(words),
        // On a desktop every table of ours has room beside the contents.
        scrolled: innerWidth < 1000 ? [] : [...article.querySelectorAll(".md-typeset__scrollwrap")].filter((e) => e.scrollWidth > e.clientWidth + 1).map(words),
        broken: [...document.images].filter((e) => !e.complete || !e.naturalWidth || !e.alt).map((e) => e.outerHTML),
        first: [...document.querySelectorAll("h1")].map((e) => e.innerText),
        skipped: headings.filter((e, i) => i > 0 && level(e) > level(headings[i - 1]) + 1).map(words),
        raw: [...article.querySelectorAll("p, li, td, th, h1, h2, h3, h4")].filter((e) =>
            [...e.childNodes].some((n) => n.nodeType === 3 && /^\\s*\\|.*\\||\\]\\(|\\*\\*|^\\s*[-*] |^#+ |<!--/.test(n.data))).map(words),
        links: [...document.querySelectorAll("a[href]")].map((e) => e.href),
        anchors: [...document.querySelectorAll("[id], a[name]")].map((e) => e.id || e.name),
    };
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[str]]]:
    """The site as `tox -e docs` builds it, on this machine's loopback: its address and its pages."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    built = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    assert built.returncode == 0, built.stderr
    pages = sorted(page.relative_to(out).as_posix().removesuffix("index.html") for page in out.rglob("*.html") if page.name != "404.html")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(out))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", pages
        server.shutdown()


@pytest.mark.parametrize("name", list(WIDTHS))
def test_every_page_can_be_read(browser: Any, site: tuple[str, list[str]], name: str) -> None:
    """Colors, links and tables, by axe-core, in the light and in the dark; what the theme alone decides is left to it.

    Of pages that are long and alike, and of those in the light, whose colors are few, a part shows them all.
    """
    address, pages = site
    context = browser.new_context(**WIDTHS[name])
    opened = context.new_page()
    found = []
    long = ("api/", "errors/", "changelog/", "reference/data/", "reference/reading/", "reference/training/")
    for page in [p for p in pages if p not in long] if name == "phone" else ("", "serve/", "training/", "reference/values/"):
        opened.goto(address + page)
        found += [f"{page}: {fault}" for fault in faults(opened, "article, .md-footer", OURS)]
    context.close()
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", list(WIDTHS))
def test_every_page_can_be_shown(browser: Any, site: tuple[str, list[str]], name: str) -> None:
    address, pages = site
    context = browser.new_context(**WIDTHS[name])
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("console", lambda m: wrong.append(f"{opened.url}: {m.text}") if m.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: wrong.append(f"{opened.url}: {error}"))
    opened.on("request", lambda r: None if r.url.startswith((address, "blob:", "data:")) else wrong.append(f"{opened.url} asks {r.url}"))
    looks = {}
    for page in pages:
        opened.goto(address + page)
        looks[address + page] = look = opened.evaluate(LOOK)
        shoot(opened, f"{page.strip('/').replace('/', '-') or 'index'}-{name}", full=look["high"] < 20_000)
        if look["wide"] > WIDTHS[name]["viewport"]["width"]:
            wrong.append(f"{page}: {look['wide']} pixels wide")
        if len(look["first"]) != 1:
            wrong.append(f"{page}: headings of the first level: {look['first']}")
        wrong += [
            f"{page}: {kind}: {what}"
            for kind in ("cut", "crowded", "quoted", "bold", "paired", "scrolled", "broken", "skipped", "raw")
            for what in look[kind]
        ]
    context.close()
    found = set()
    for page, look in looks.items():
        for link in look["links"]:
            goal, anchor = urldefrag(urljoin(page, link))
            if not goal.startswith(address):
                continue
            found.add(goal)
            if goal in looks and anchor and unquote(anchor) not in looks[goal]["anchors"]:
                wrong.append(f"{page}: {link}: no such place")
    nowhere = [goal for goal in found - set(looks) if not _answers(browser, goal)]
    wrong += [f"no such page: {goal}" for goal in sorted(nowhere)]
    wrong += [f"nothing leads to {page}" for page in sorted(set(looks) - found)]
    assert not wrong, "\n".join(wrong)


def _answers(browser: Any, address: str) -> bool:
    context = browser.new_context()
    try:
        return bool(context.request.get(address).ok)
    finally:
        context.close()
