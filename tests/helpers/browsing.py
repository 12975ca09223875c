"""The page in a real browser: Debian's chromium, driven by Playwright. Leaves screenshots in FERKIT_SCREENSHOTS, if that is set."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

for module in ("fastapi", "uvicorn", "prometheus_client", "python_multipart", "websockets"):
    pytest.importorskip(module, reason="needs ferkit[serve]")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")

from tests.helpers.serving import WEIGHTS, Service, astronaut, encoded  # noqa: E402

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True, "color_scheme": "dark"}
AXE = Path(os.environ.get("FERKIT_AXE") or "node_modules/axe-core/axe.min.js")  # npm install axe-core

MARKS = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium"),
    pytest.mark.skipif(not WEIGHTS.exists(), reason="needs the bundled weights"),
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    video = tmp_path_factory.mktemp("camera") / "camera.mjpeg"
    video.write_bytes(b"".join(encoded(view) * 60 for view in (seen(0), seen(40))))
    with playwright.sync_playwright() as p:
        started = p.chromium.launch(executable_path=str(CHROMIUM), args=[*FLAGS, f"--use-file-for-fake-video-capture={video}"])
        yield started
        started.close()


@pytest.fixture
def phone(browser: Any, service: Service) -> Iterator[Any]:
    context = browser.new_context(**PHONE)
    opened = context.new_page()
    opened.goto(service.url)
    playwright.expect(opened.locator("#labels option")).not_to_have_count(0)
    yield opened
    context.close()


@pytest.fixture
def page(browser: Any, service: Service, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page that fails the test if its console reports an error or if it asks for anything from elsewhere."""
    context = browser.new_context(**getattr(request, "param", {"viewport": {"width": 1200, "height": 800}}), permissions=["camera"])
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda r: None if r.url.startswith((service.url, "blob:")) else complaints.append(r.url))
    opened.set_default_timeout(20_000)
    opened.goto(service.url)
    playwright.expect(opened.locator("#labels option")).not_to_have_count(0)
    yield opened
    context.close()
    # Chromium itself reports every refused request; some tests mean to have one.
    if not getattr(opened, "complaints_allowed", False):
        assert [c for c in complaints if "400 (Bad Request)" not in c] == []


def shoot(page: Any, name: str, full: bool = True) -> None:
    folder = os.environ.get("FERKIT_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=full)


def upload(page: Any, *paths: Path, already: int = 0) -> None:
    page.set_input_files("#files", [str(path) for path in paths])
    playwright.expect(page.locator("#results .save-picture")).to_have_count(already + len(paths))


def faults(page: Any, where: str = "html", rules: Sequence[str] = ()) -> list[str]:
    """Return what axe-core finds against the page as it is now, or against a part of it by some rules; skip without axe-core."""
    if not AXE.is_file():
        pytest.skip(f"needs axe-core, which {AXE} is not; run: npm install --no-save axe-core, or set FERKIT_AXE")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
    found = page.evaluate("async ([where, options]) => (await axe.run(where, options)).violations", [where, options])
    return [f"{fault['id']}: {node['html'][:120]}" for fault in found for node in fault["nodes"]]


def seen(shift: int) -> Any:
    """The astronaut as a webcam sees her, so many pixels from the middle."""
    from PIL import Image

    picture = Image.new("RGB", (640, 480), (126, 138, 150))
    picture.paste(Image.open(astronaut()), (150 + shift, 70))
    return picture


def reachable(page: Any) -> tuple[set[str], set[str]]:
    """Return what can be pressed or set on the page, and what the Tab key came to in one round."""
    name = "(e) => e.id || `${e.tagName}.${e.dataset.do ?? e.className}:${e.closest('.card')?.getAttribute('aria-label') ?? ''}`"
    wanted = page.evaluate(
        f"""() => [...document.querySelectorAll("a, button, input, select, summary, video[controls], [tabindex='0']")]
            .filter((e) => e.checkVisibility() && e.tabIndex >= 0).map({name})"""
    )
    came = set()
    page.evaluate("() => document.activeElement.blur()")
    for _ in range(len(wanted) + 5):
        page.keyboard.press("Tab")
        came.add(page.evaluate(f"() => ({name})(document.activeElement)"))
    return set(wanted), came
