"""The page without sending pictures: the browser's answers are Python's, also with the network gone, and from a folder of files."""

from __future__ import annotations

import functools
import http.server
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from ferkit import Pipeline
from ferkit.cli import main
from tests.helpers.browsing import MARKS, browser, faults, playwright, shoot
from tests.helpers.large_photos import KINDS, write_large
from tests.helpers.serving import SHARED, Service, astronaut, photo

__all__ = ["browser"]  # a fixture

pytestmark = MARKS

RUNTIME = Path(os.environ.get("FERKIT_ORT_WEB") or "node_modules/onnxruntime-web")
NAMES = SHARED / "photos" / "images"


@pytest.fixture(scope="module")
def runtime() -> Path:
    if not any((RUNTIME / place / "ort.wasm.min.mjs").is_file() for place in (".", "dist")):
        pytest.skip(f"needs onnxruntime-web, which {RUNTIME} is not; run: npm install --no-save onnxruntime-web, or set FERKIT_ORT_WEB")
    return RUNTIME


@pytest.fixture(scope="module")
def folder(runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The exported page on a plain web server, that knows nothing of ferkit."""
    out = tmp_path_factory.mktemp("web")
    done = CliRunner().invoke(main, ["export", "--web", str(out), "--onnxruntime-web", str(runtime)])
    assert done.exit_code == 0, done.output
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(out))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def alone(browser: Any, folder: str) -> Iterator[Any]:
    """The exported page, loaded; whatever it asks the network for from now on fails the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, permissions=["camera"])
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.set_default_timeout(60_000)
    page.goto(folder)
    playwright.expect(page.locator("#status")).to_contain_text("Pictures stay in this browser", timeout=60_000)
    page.route(
        "**/*",
        lambda route: route.continue_() if route.request.url.startswith("blob:") else (complaints.append(route.request.url), route.abort()),
    )
    yield page
    context.close()
    assert complaints == []


def answers(page: Any, paths: list[Path]) -> list[dict[str, Any]]:
    page.set_input_files("#files", [str(path) for path in paths])
    playwright.expect(page.locator("#results .save-picture")).to_have_count(len(paths), timeout=240_000)
    with page.expect_download() as waiting:
        page.click("#save-json")
    found: list[dict[str, Any]] = json.loads(Path(waiting.value.path()).read_text(encoding="utf-8"))
    return found


def differences(found: list[dict[str, Any]], paths: list[Path]) -> tuple[float, float]:
    """Return by how much boxes, in pixels, and probabilities differ from Python's at most; labels must be the same."""
    pipeline = Pipeline()
    boxes, shares = [0.0], [0.0]
    for answer, path in zip(found, paths, strict=True):
        expected = pipeline(path).to_dict()["faces"]
        assert len(answer["faces"]) == len(expected), path.name
        for face, wanted in zip(answer["faces"], expected, strict=True):
            assert face["label"] == wanted["label"], path.name
            assert [face.get(name) for name in ("turn", "reason")] == [wanted.get(name) for name in ("turn", "reason")], path.name
            boxes += [abs(a - b) for a, b in zip(face["box"], wanted["box"], strict=True)]
            shares += [abs(p - wanted["probabilities"][name]) for name, p in face["probabilities"].items()]
    return max(boxes), max(shares)


def test_the_astronaut_alone(alone: Any, tmp_path: Path) -> None:
    small, large, over = tmp_path / "small.png", tmp_path / "large.png", tmp_path / "upside-down.png"
    Image.open(astronaut()).resize((90, 90)).save(small)
    Image.open(astronaut()).resize((1500, 1500)).save(large)
    Image.open(astronaut()).rotate(180).save(over)
    wide = tmp_path / "wide-upside-down.png"  # which the second look sees from the other side alone
    Image.open(astronaut()).resize((1600, 1200)).rotate(180).save(wide)
    sideways = []
    for side in (154, 256):  # found without being asked for, and so without a label
        sideways.append(tmp_path / f"sideways-{side}.png")
        Image.open(astronaut()).rotate(90).resize((side, side)).save(sideways[-1])
    close = tmp_path / "close-up-upside-down.png"
    Image.open(astronaut()).crop((120, 0, 360, 260)).rotate(180).resize((1400, 1400)).save(close)
    across = tmp_path / "close-up-sideways.png"
    Image.open(astronaut()).crop((120, 0, 360, 260)).rotate(-90, expand=True).resize((1400, 1000)).save(across)
    paths = [small, large, over, wide, *sideways, close, across]
    boxes, shares = differences(answers(alone, paths), paths)
    assert boxes <= 1
    assert shares <= 1e-3
    shoot(alone, "browser-only")
    assert faults(alone) == []


@pytest.mark.shared
def test_twenty_photos_alone(alone: Any, tmp_path: Path) -> None:
    photo("Angelina_Jolie_0005.jpg")  # skips without them
    jpegs = sorted(NAMES.glob("*.jpg"))[::11][:20]
    pngs = []
    for path in jpegs:
        pngs.append(tmp_path / f"{path.stem}.png")
        Image.open(path).convert("RGB").save(pngs[-1], icc_profile=None)
    boxes, shares = differences(answers(alone, pngs), pngs)
    print(f"n = {len(pngs)} PNG: boxes differ by at most {boxes:.3f} px, probabilities by {shares:.2e}")
    assert boxes <= 1
    assert shares <= 1e-3
    alone.click("#clear")
    boxes, shares = differences(answers(alone, jpegs), jpegs)
    print(f"n = {len(jpegs)} JPEG: labels equal, boxes differ by at most {boxes:.3f} px, probabilities by {shares:.2e}")


def test_large_photos_alone(alone: Any, tmp_path: Path) -> None:
    """Of 12 megapixels, as phones and programs write them; the faces are the astronaut's and, where they are there, shared portraits."""
    faces = [Image.open(astronaut())]
    if NAMES.is_dir():
        faces += [Image.open(path) for path in sorted(NAMES.glob("*.jpg"))[5::41][:15]]
    paths = [write_large(tmp_path, kind, [faces[(2 * n) % len(faces)], faces[(2 * n + 1) % len(faces)]], n) for n, kind in enumerate(KINDS)]
    began = time.perf_counter()
    found = answers(alone, paths)
    seconds = time.perf_counter() - began
    for path, answer in zip(paths, found, strict=True):
        boxes, shares = differences([answer], [path])
        print(
            f"{path.stem}: labels equal, {len(answer['faces'])} faces, boxes differ by at most {boxes:.2f} px, probabilities by {shares:.1e}"
        )
    print(f"n = {len(paths)} photos of 12 MP, {1000 * seconds / len(paths):.0f} ms a photo")


def test_the_switch_sends_nothing(browser: Any, runtime: Path, tmp_path: Path) -> None:
    with Service(tmp_path, "--onnxruntime-web", str(runtime)) as service:
        context = browser.new_context()
        page = context.new_page()
        page.goto(service.url)
        page.check("#local")
        playwright.expect(page.locator("#status")).to_contain_text("Pictures stay in this browser", timeout=60_000)
        sent: list[str] = []
        page.on("request", lambda request: None if request.url.startswith("blob:") else sent.append(request.url))
        page.set_input_files("#files", str(astronaut()))
        playwright.expect(page.locator("#results .face h3")).to_contain_text("happy", timeout=60_000)
        with page.expect_download() as waiting:
            page.click(".save-picture")
        assert Path(waiting.value.path()).read_bytes().startswith(b"\x89PNG")
        assert sent == []
        playwright.expect(page.locator("#privacy")).to_contain_text("nothing is sent")
        page.uncheck("#local")
        playwright.expect(page.locator("#results .face h3")).to_contain_text("happy", timeout=60_000)
        assert any("v1/predict" in url for url in sent)
        context.close()


def test_the_webcam_alone(alone: Any) -> None:
    alone.click("#tab-webcam")
    alone.click("#camera")
    playwright.expect(alone.locator("#webcam svg .box")).to_have_count(1, timeout=60_000)
    playwright.expect(alone.locator("#live-people tbody tr")).to_contain_text("happy", timeout=60_000)
    alone.click("#camera")
