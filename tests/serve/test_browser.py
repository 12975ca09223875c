"""The page in a real browser: Debian's chromium, driven by Playwright. Leaves screenshots in FERKIT_SCREENSHOTS, if that is set."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="needs playwright")

from tests.helpers.browsing import MARKS, PHONE, browser, faults, page, phone, playwright, reachable, service, shoot, upload
from tests.helpers.serving import Service, astronaut, noise

__all__ = ["browser", "page", "phone", "service"]  # fixtures

pytestmark = MARKS


def crowd(folder: Path, faces: int = 4) -> Path:
    """Several portraits in rows."""
    from PIL import Image, ImageOps

    columns = max(4, round((2 * faces) ** 0.5))
    side = 1600 // columns
    one = Image.open(astronaut()).resize((side - 20, side - 20))
    picture = Image.new("RGB", (1600, side * -(-faces // columns)), (126, 138, 150))
    for i in range(faces):
        turned = ImageOps.mirror(one) if i % 2 else one
        picture.paste(turned, (side * (i % columns) + 10, side * (i // columns) + 10))
    picture.save(folder / f"group-of-{faces}.jpg", quality=92)
    return folder / f"group-of-{faces}.jpg"


def test_a_photo_gets_boxes_and_a_chart(page: Any) -> None:
    shoot(page, "empty")
    upload(page, astronaut())
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


def test_an_unsure_answer_is_called_so_below_the_threshold(page: Any) -> None:
    shares = {"angry": 0.0, "disgust": 0.0, "fear": 0.0, "happy": 0.49, "sad": 0.0, "surprise": 0.46, "neutral": 0.05}
    face = {"box": [90, 40, 190, 180], "score": 0.9, "landmarks": None, "label": "happy", "confidence": 0.49, "probabilities": shares}
    image = {"image": "astronaut.jpg", "width": 340, "height": 340, "faces": [face], "error": None}
    answer = {"schema": 1, "weights": "some", "labels": "photos", "images": [image]}
    page.route("**/v1/predict*", lambda route: route.fulfill(json=answer))
    upload(page, astronaut())
    title, tag = page.locator("#results .face h3"), page.locator("#results svg .tag")
    for place in (title, tag):
        playwright.expect(place).to_contain_text("unsure")
    playwright.expect(title).to_contain_text("perhaps happy")
    shoot(page, "unsure")
    page.locator("#threshold").focus()
    page.keyboard.press("ArrowLeft")
    playwright.expect(page.locator("#threshold-value")).to_have_text("below 45 %")
    playwright.expect(title).not_to_contain_text("unsure")
    page.keyboard.press("Home")
    playwright.expect(page.locator("#threshold-value")).to_have_text("never")
    for place in (title, tag):
        playwright.expect(place).to_contain_text("happy")
        playwright.expect(place).not_to_contain_text("unsure")


def test_many_faces_other_labels_and_downloads(page: Any, tmp_path: Path) -> None:
    upload(page, crowd(tmp_path), astronaut())
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
    path.write_bytes(astronaut().read_bytes()[:3000])
    with page.expect_response(lambda r: "predict" in r.url) as waiting:
        page.set_input_files("#files", str(path))
    assert waiting.value.status == 400
    playwright.expect(page.locator("#results .error")).to_contain_text("decoded")


def test_paste_and_drop(page: Any) -> None:
    data = list(astronaut().read_bytes())
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


def test_the_keyboard_alone_does_everything(page: Any, tmp_path: Path) -> None:
    page.locator("#example-one").focus()
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#results .save-picture")).to_have_count(1)
    upload(page, crowd(tmp_path), already=1)
    wanted, came = reachable(page)
    assert wanted <= came
    first = page.locator("#results summary").first
    first.focus()
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#results details[open] .bars li")).to_have_count(7)
    page.locator("#results .remove").first.focus()
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#results .card")).to_have_count(1)
    assert page.evaluate("() => document.activeElement.className") == "remove", "removing a photo lost the focus"
    page.keyboard.press("Enter")
    assert page.evaluate("() => document.activeElement.id") == "files"
    page.locator("#tab-photos").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("() => document.activeElement.getAttribute('aria-selected')") == "true"
    playwright.expect(page.locator("#photos")).to_be_hidden()
    page.keyboard.press("End")
    playwright.expect(page.locator("#webcam")).to_be_visible()


def watch(page: Any, seconds: float = 4) -> None:
    """Start the webcam and let it see something for a while."""
    page.click("#tab-webcam")
    page.click("#camera")
    playwright.expect(page.locator("#webcam svg .box")).to_have_count(1, timeout=30_000)
    page.wait_for_function(f"() => document.querySelector('#live-timeline .timeline')?.getAttribute('aria-valuenow') >= {seconds}")


def test_explain_shows_what_an_answer_rests_on(page: Any, tmp_path: Path) -> None:
    page.complaints_allowed = True  # Chromium advises against reading pixels so often
    upload(page, astronaut())
    page.locator("#explain").focus()
    page.keyboard.press("Space")
    playwright.expect(page.locator("#results .evidence canvas")).to_have_count(1, timeout=60_000)
    playwright.expect(page.locator("#announcer")).to_contain_text("what the answers rest on is shown")
    painted = """(where) => {
        const canvas = document.querySelector(where);
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return data.reduce((sum, v, n) => sum + (n % 4 < 3 ? v * (1 + (n % 97)) : 0), 0);
    }"""
    page.wait_for_function("() => document.querySelector('#results .evidence-photo') !== null")
    choice = page.locator("#results .evidence select")
    assert choice.input_value() == "happy"
    before = [page.evaluate(painted, where) for where in ("#results .evidence canvas", "#results .evidence-photo")]
    assert all(before), "nothing is painted"
    shoot(page, "explain-light")
    choice.select_option("sad")
    after = [page.evaluate(painted, where) for where in ("#results .evidence canvas", "#results .evidence-photo")]
    assert all(a != b for a, b in zip(after, before, strict=True))
    assert faults(page) == []
    upload(page, crowd(tmp_path), already=1)
    playwright.expect(page.locator("#results .evidence canvas")).to_have_count(5, timeout=60_000)
    page.locator("#results summary").first.click()
    shoot(page, "explain-group")
    page.uncheck("#explain")
    playwright.expect(page.locator("#results .evidence, #results .evidence-photo")).to_have_count(0)


def test_the_webcam_streams(page: Any) -> None:
    watch(page)
    playwright.expect(page.locator("#live-faces .bars li")).to_have_count(7)
    page.wait_for_function("() => /[1-9]\\d* ms/.test(document.getElementById('rate').textContent)")
    shoot(page, "webcam-light")
    page.select_option("#labels", "ferplus")
    playwright.expect(page.locator("#live-faces .bars li")).to_have_count(8)
    page.click("#camera")
    playwright.expect(page.locator("#camera")).to_have_text("Start webcam")
    playwright.expect(page.locator("#webcam .stage svg")).to_have_count(0)


def test_the_webcam_keeps_what_it_saw(page: Any) -> None:
    watch(page, seconds=6)
    with page.expect_download() as waiting:
        page.click("#snapshot")
    assert Path(waiting.value.path()).read_bytes().startswith(b"\x89PNG")
    page.click("#camera")
    playwright.expect(page.locator("#live-people tbody tr").first).to_contain_text("happy")
    shoot(page, "webcam-summary")
    with page.expect_download() as waiting:
        page.click("#live-csv")
    with Path(waiting.value.path()).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:10] == ["frame", "time_s", "track_id", "x1", "y1", "x2", "y2", "score", "label", "confidence"]
    assert len(rows) >= 5
    assert [float(row["time_s"]) for row in rows] == sorted(float(row["time_s"]) for row in rows)
    assert {row["label"] for row in rows} == {"happy"}
    time = page.locator("#live-timeline .timeline")
    time.focus()
    page.keyboard.press("End")
    end = time.get_attribute("aria-valuenow")
    page.keyboard.press("ArrowLeft")
    assert float(time.get_attribute("aria-valuenow")) < float(end)
    playwright.expect(page.locator("#live-timeline .readout")).to_contain_text("happy")
    page.click("#forget")
    playwright.expect(page.locator("#live-record")).to_be_hidden()


def test_boxes_belong_to_the_picture_that_is_shown(page: Any) -> None:
    """The camera's face jumps aside; whatever is on the screen, the box lies on the face of that very frame."""
    page.complaints_allowed = True  # Chromium advises against reading pixels so often
    watch(page)
    page.uncheck("#mirror")
    page.wait_for_timeout(1000)  # until a frame came that is not mirrored
    seen = set()
    for _ in range(40):
        color, left = page.evaluate(
            """() => {
                const picture = document.getElementById("live-picture");
                const pixel = picture.getContext("2d").getImageData(picture.width * 170 / 640, picture.height / 2, 1, 1).data;
                return [[...pixel.slice(0, 3)], document.querySelector("#webcam svg .box").getAttribute("x") / picture.width];
            }"""
        )
        aside = max(abs(c - grey) for c, grey in zip(color, (126, 138, 150), strict=True)) < 25  # background where the portrait was
        assert (left > 0.45) == aside, f"box at {left:.2f} of the width"
        seen.add(aside)
        page.wait_for_timeout(120)
    assert seen == {True, False}


def test_the_first_result_is_scrolled_to_and_announced(phone: Any) -> None:
    playwright.expect(phone.locator("label", has_text="Take a photo")).to_be_visible()
    upload(phone, astronaut())
    playwright.expect(phone.locator("#announcer")).to_have_text("astronaut.jpg: 1 face: happy.")
    phone.wait_for_function("() => document.querySelector('#results .stage').getBoundingClientRect().top < innerHeight / 2")
    phone.wait_for_timeout(700)
    box = phone.locator("#results .card").bounding_box()
    assert -2 <= box["y"] <= 60, "the first result is not where one looks"
    shoot(phone, "phone-first-result", full=False)


def test_a_group_has_numbered_tags_and_a_summary(page: Any, tmp_path: Path) -> None:
    upload(page, crowd(tmp_path, 22))
    numbers = [int(text) for text in page.locator("#results svg .tag").all_text_contents()]
    assert sorted(numbers) == list(range(1, 23))
    assert page.locator("#results details.compact .number").all_text_contents() == [str(n) for n in range(1, 23)]
    # All at one moment: the page is still scrolling to its first result.
    boxes = page.locator("#results svg .box").evaluate_all("boxes => boxes.map(box => box.getBoundingClientRect().toJSON())")
    middles = {n: (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for n, box in zip(numbers, boxes, strict=True)}
    tall = max(box["height"] for box in boxes)
    for n in range(1, 22):
        (x, y), (next_x, next_y) = middles[n], middles[n + 1]
        assert (next_x > x and abs(next_y - y) < tall) or (next_x < x and next_y > y), f"{n + 1} does not come after {n} as one reads"
    playwright.expect(page.locator("#results details.compact")).to_have_count(22)
    assert sum(int(text.split()[0]) for text in page.locator("#results .summary-key li").all_inner_texts()) == 22
    page.locator("#results svg .face-mark").nth(numbers.index(4)).click()
    playwright.expect(page.locator("#results details.compact").nth(3)).to_have_attribute("open", "")
    page.mouse.move(5, 5)
    shoot(page, "group-of-22")


def test_photos_are_shrunk_and_told_in_their_own_pixels(page: Any, tmp_path: Path) -> None:
    from PIL import Image

    large = tmp_path / "large.jpg"
    Image.open(astronaut()).resize((4000, 4000)).save(large, quality=95)
    with page.expect_request("**/v1/predict*") as waiting:
        upload(page, large)
    assert len(waiting.value.post_data_buffer or b"") < large.stat().st_size / 2
    with page.expect_download() as download:
        page.click("#save-json")
    (saved,) = json.loads(Path(download.value.path()).read_text())
    assert (saved["width"], saved["height"]) == (4000, 4000)
    assert saved["faces"][0]["box"][2] > 2000, "the box is in pixels of the smaller picture"


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (502, "<html>502 Bad Gateway</html>", "does not answer at the moment"),
        (413, "<html>413</html>", "larger than the service takes"),
        (502, '{"schema": 1, "error": {"code": "lost", "message": "The service lost this request."}}', "The service lost this request."),
        (0, "", "cannot be reached"),
        (200, "<html>Sign in to this network</html>", "Something else answered in the service's place"),
    ],
)
def test_errors_are_told_in_plain_words_and_can_be_tried_again(page: Any, status: int, body: str, words: str) -> None:
    page.complaints_allowed = True
    page.route("**/v1/predict*", lambda route: route.fulfill(status=status, body=body) if status else route.abort())
    page.set_input_files("#files", str(astronaut()))
    playwright.expect(page.locator("#results .error")).to_contain_text(words)
    playwright.expect(page.locator("#announcer")).to_contain_text(words)
    if status == 413:
        shoot(page, "error-too-large")
    page.unroute("**/v1/predict*")
    page.locator("#results .again").focus()
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#results .save-picture")).to_have_count(1)
    assert page.evaluate("() => document.activeElement !== document.body"), "the focus was lost"


def test_a_key_asks_again_for_what_waited_for_it(page: Any, tmp_path: Path) -> None:
    """Not for what was cancelled, nor for what is no picture."""
    page.complaints_allowed = True
    broken, cancelled = tmp_path / "broken.jpg", tmp_path / "cancelled.png"
    broken.write_bytes(b"no picture")
    cancelled.write_bytes(noise())
    asked: list[str] = []
    held: list[Any] = []

    def served(route: Any) -> None:
        name = next(
            name for name in ("broken.jpg", "cancelled.png", "astronaut.jpg") if name.encode() in (route.request.post_data_buffer or b"")
        )
        asked.append(name)
        if name == "cancelled.png":
            held.append(route)
        elif name == "astronaut.jpg" and "authorization" not in route.request.headers:
            route.fulfill(status=401, body="{}")
        else:
            route.continue_()

    page.route("**/v1/predict*", served)
    for number, (path, words) in enumerate(((broken, "Not a picture"), (cancelled, "Cancelled"), (astronaut(), "API key")), 1):
        page.set_input_files("#files", str(path))
        if path == cancelled:
            page.locator("#results .cancel").click()
        playwright.expect(page.locator("#results .error")).to_have_count(number)
        playwright.expect(page.locator("#results .error").last).to_contain_text(words)
    page.fill("#key", "correct horse battery")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#results .save-picture")).to_have_count(1)
    assert asked.count("astronaut.jpg") == 2
    assert [asked.count(name) for name in ("broken.jpg", "cancelled.png")] in ([1, 1], [1, 0])  # cancelled before it was sent, or meanwhile
    playwright.expect(page.locator("#results .error")).to_have_count(2)


def test_a_busy_service_is_waited_for(page: Any) -> None:
    page.complaints_allowed = True
    asked = []

    def busy(route: Any) -> None:
        asked.append(route)
        if len(asked) == 1:
            route.fulfill(status=429, headers={"Retry-After": "1"}, body="{}")
        else:
            route.continue_()

    page.route("**/v1/predict*", busy)
    upload(page, astronaut())
    assert len(asked) == 2


def test_an_upload_can_be_cancelled(page: Any) -> None:
    page.complaints_allowed = True
    held: list[Any] = []
    page.route("**/v1/predict*", lambda route: held.append(route))  # noqa: PLW0108 - Playwright marks the function it is given
    page.set_input_files("#files", str(astronaut()))
    playwright.expect(page.locator("#results .progress p")).to_have_text("Sending…")
    page.locator("#results .cancel").focus()
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#results .error")).to_have_text("Cancelled.")
    assert page.evaluate("() => document.activeElement !== document.body"), "the focus was lost"


def test_the_examples_need_nobody(page: Any) -> None:
    page.click("#example-group")
    playwright.expect(page.locator("#results .save-picture")).to_have_count(1)
    assert page.locator("#results details.compact").count() == 8
    page.click("#example-one")
    playwright.expect(page.locator("#results .save-picture")).to_have_count(2)
    shoot(page, "examples")


NARROW = {"viewport": {"width": 320, "height": 640}}


@pytest.mark.parametrize("page", [NARROW], indirect=True, ids=["narrow"])
def test_at_320_pixels_and_with_text_twice_as_large(page: Any, tmp_path: Path) -> None:
    upload(page, astronaut(), crowd(tmp_path))
    for size in ("100%", "200%"):
        page.evaluate("(size) => { document.documentElement.style.fontSize = size; }", size)
        for tab in ("webcam", "video", "photos"):
            page.click(f"#tab-{tab}")
            assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), f"{tab} scrolls sideways at {size}"
        shoot(page, f"narrow-{size[:-1]}")
    (tmp_path / "broken.jpg").write_bytes(astronaut().read_bytes()[:3000])
    page.set_input_files("#files", [str(tmp_path / "broken.jpg")])
    error = page.locator("#results .error")
    playwright.expect(error).to_contain_text("decoded")
    assert error.bounding_box()["width"] >= 150, "an error is squeezed beside its picture"
    shoot(page, "narrow-error")


def test_axe_finds_nothing(page: Any, tmp_path: Path) -> None:
    """In both color schemes: of the empty page, of a photo and a large group, of a picture that cannot be read, of unsure answers."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert faults(page) == []
    page.complaints_allowed = True  # of the picture that cannot be read, which Chromium reports too
    upload(page, astronaut(), crowd(tmp_path, 22))
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    page.set_input_files("#files", [str(tmp_path / "broken.jpg")])
    playwright.expect(page.locator("#results .error")).to_contain_text("Not a picture")
    page.locator("#threshold").focus()
    page.keyboard.press("End")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert faults(page) == []
    for tab in ("video", "webcam"):
        page.click(f"#tab-{tab}")
        assert faults(page) == []


def test_forced_colors(page: Any, tmp_path: Path) -> None:
    page.emulate_media(forced_colors="active")
    upload(page, crowd(tmp_path))
    assert page.evaluate("() => getComputedStyle(document.querySelector('#results svg .box')).stroke") != "none"
    parts = page.evaluate("() => [...document.querySelectorAll('.summary-bar span')].map((e) => getComputedStyle(e).backgroundColor)")
    assert parts
    assert all(part.startswith("rgb") and part != "rgba(0, 0, 0, 0)" for part in parts)
    shoot(page, "forced-colors")


def test_without_scripts_the_page_says_what_to_do(browser: Any, service: Service) -> None:
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(service.url)
    playwright.expect(opened.locator(".notice")).to_contain_text("needs JavaScript")
    playwright.expect(opened.locator("#drop")).to_be_hidden()
    shoot(opened, "no-script")
    context.close()


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
