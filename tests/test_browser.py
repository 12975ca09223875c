"""The page in a real browser: Debian's chromium, driven by Playwright. Leaves screenshots in FERKIT_SCREENSHOTS, if that is set."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

for module in ("fastapi", "uvicorn", "prometheus_client", "python_multipart", "websockets"):
    pytest.importorskip(module, reason="needs ferkit[serve]")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")

from tests.serving import WEIGHTS, Service, encoded, photo, portrait  # noqa: E402

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
HAPPY = "Arnold_Schwarzenegger_0006.jpg"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.shared,
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
    frames = [encoded(portrait(name=name)) for name in (HAPPY, "Angelina_Jolie_0005.jpg")]
    video.write_bytes(b"".join(frame for frame in frames for _ in range(60)))
    with playwright.sync_playwright() as p:
        started = p.chromium.launch(executable_path=str(CHROMIUM), args=[*FLAGS, f"--use-file-for-fake-video-capture={video}"])
        yield started
        started.close()


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
    # Chromium itself reports every refused request; test_a_broken_picture_is_told means to have one.
    assert [c for c in complaints if "400 (Bad Request)" not in c] == []


def shoot(page: Any, name: str, full: bool = True) -> None:
    folder = os.environ.get("FERKIT_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=full)


def upload(page: Any, *paths: Path) -> None:
    page.set_input_files("#files", [str(path) for path in paths])
    playwright.expect(page.locator("#results .save-picture")).to_have_count(len(paths))


def crowd(folder: Path) -> Path:
    """Four portraits side by side."""
    from PIL import Image

    names = [HAPPY, "Angelina_Jolie_0005.jpg", "Al_Sharpton_0005.jpg", "Andrea_Bocelli_0001.jpg"]
    picture = Image.new("RGB", (1200, 500), (126, 138, 150))
    for i, name in enumerate(names):
        picture.paste(Image.open(photo(name)).convert("RGB").resize((270, 270)), (24 + 294 * i, 50 + 130 * (i % 2)))
    picture.save(folder / "team.jpg", quality=92)
    return folder / "team.jpg"


def test_a_photo_gets_boxes_and_a_chart(page: Any) -> None:
    shoot(page, "empty")
    upload(page, photo(HAPPY))
    assert page.locator("#results svg .box").count() == 1
    assert page.locator("#results .bars li").count() == 7
    title = page.locator("#results .face h3").inner_text()
    assert re.search(r"\d+ ?%", title)
    box = page.locator("#results svg .box").bounding_box()
    image = page.locator("#results img").bounding_box()
    assert image["x"] <= box["x"] < box["x"] + box["width"] <= image["x"] + image["width"] + 1
    shares = page.locator("#results .bars .value").all_inner_texts()
    assert sum(float(share.split()[0]) for share in shares) == pytest.approx(100, abs=4)
    shoot(page, "photo-light")


def test_an_unsure_answer_is_called_so_unless_names_are_asked_for(page: Any) -> None:
    page.evaluate(
        """() => {
            const real = window.fetch;
            window.fetch = async (path, options) => {
                const body = await (await real(path, options)).json();
                body.images[0].faces[0].confidence = 0.49;
                return new Response(JSON.stringify(body));
            };
        }"""
    )
    upload(page, photo(HAPPY))
    title, tag = page.locator("#results .face h3"), page.locator("#results svg .tag")
    for place in (title, tag):
        playwright.expect(place).to_contain_text("unsure")
    shoot(page, "unsure")
    page.uncheck("#unsure")
    for place in (title, tag):
        playwright.expect(place).to_contain_text("happy")


def test_many_faces_other_labels_and_downloads(page: Any, tmp_path: Path) -> None:
    upload(page, crowd(tmp_path), photo(HAPPY))
    assert page.locator("#results .card").count() == 2
    shoot(page, "faces-light")
    page.select_option("#labels", "ferplus")
    playwright.expect(page.locator("#results .save-picture")).to_have_count(2)
    playwright.expect(page.locator("#results .face").first.locator(".bars li")).to_have_count(8)
    with page.expect_download() as waiting:
        page.click("#save-json")
    saved = json.loads(Path(waiting.value.path()).read_text())
    assert [r["schema"] for r in saved] == [1, 1]
    assert {len(face["probabilities"]) for r in saved for face in r["faces"]} == {8}
    with page.expect_download() as waiting:
        page.locator(".save-picture").first.click()
    assert Path(waiting.value.path()).read_bytes().startswith(b"\x89PNG")
    page.click("#clear")
    playwright.expect(page.locator("#results .card")).to_have_count(0)


def test_a_broken_picture_is_told(page: Any, tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(photo(HAPPY).read_bytes()[:3000])
    with page.expect_response(lambda r: "predict" in r.url) as waiting:
        page.set_input_files("#files", str(path))
    assert waiting.value.status == 400
    playwright.expect(page.locator("#results .error")).to_contain_text("decoded")


def test_paste_and_drop(page: Any) -> None:
    data = list(photo(HAPPY).read_bytes())
    for kind, field in (("paste", "clipboardData"), ("drop", "dataTransfer")):
        page.evaluate(
            """([data, kind, field]) => {
                const transfer = new DataTransfer();
                transfer.items.add(new File([new Uint8Array(data)], `${kind}.jpg`, { type: "image/jpeg" }));
                const event = kind === "paste" ? new ClipboardEvent(kind, { clipboardData: transfer, bubbles: true })
                    : new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true });
                document.getElementById("drop").dispatchEvent(event);
            }""",
            [data, kind, field],
        )
    playwright.expect(page.locator("#results .save-picture")).to_have_count(2)


def test_the_keyboard_reaches_everything(page: Any) -> None:
    upload(page, photo(HAPPY))
    page.locator("#tab-photos").focus()
    seen = []
    for _ in range(12):
        seen.append(page.evaluate("() => document.activeElement.id || document.activeElement.className"))
        page.keyboard.press("Tab")
    assert {"tab-photos", "weights", "labels", "files", "save-json", "clear", "save-picture", "face lit"} <= set(seen)
    page.locator("#tab-photos").focus()
    page.keyboard.press("ArrowRight")
    playwright.expect(page.locator("#webcam")).to_be_visible()


def test_the_webcam_streams(page: Any) -> None:
    page.click("#tab-webcam")
    page.click("#camera")
    playwright.expect(page.locator("#webcam svg .box")).to_have_count(1)
    playwright.expect(page.locator("#live-faces .bars li")).to_have_count(7)
    page.wait_for_function("() => /[1-9]\\d* ms/.test(document.getElementById('rate').textContent)")
    page.wait_for_timeout(1500)
    shoot(page, "webcam-light")
    page.select_option("#labels", "ferplus")
    playwright.expect(page.locator("#live-faces .bars li")).to_have_count(8)
    page.click("#camera")
    playwright.expect(page.locator("#camera")).to_have_text("Start webcam")
    playwright.expect(page.locator("#webcam svg")).to_have_count(0)


PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True, "color_scheme": "dark"}


@pytest.mark.parametrize("page", [PHONE], indirect=True, ids=["dark"])
def test_on_a_phone_in_the_dark(page: Any, tmp_path: Path) -> None:
    upload(page, crowd(tmp_path))
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(18, 20, 26)"
    shoot(page, "phone-dark")


def test_the_interface_is_described(page: Any, service: Service) -> None:
    page.goto(f"{service.url}/docs")
    playwright.expect(page.locator("article code", has_text="/v1/predict").first).to_be_visible()
    shoot(page, "docs-light")
