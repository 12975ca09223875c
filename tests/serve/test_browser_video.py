"""Films on the page, in a real browser: from drop to timeline, rows and the annotated copy; progress and cancelling."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.browsing import MARKS, browser, faults, page, playwright, reachable, service, shoot
from tests.helpers.film_of_three import film_of_three

for module in ("av", "scipy", "pyarrow"):
    pytest.importorskip(module, reason="needs ferkit[video]")

__all__ = ["browser", "page", "service"]  # fixtures

pytestmark = MARKS


def drop(page: Any, path: Path) -> None:
    page.click("#tab-video")
    page.set_input_files("#film-file", str(path))


def drop_anywhere(page: Any, *names: str) -> None:
    page.evaluate(
        """(names) => {
            const transfer = new DataTransfer();
            for (const name of names) transfer.items.add(new File(["no film"], name));
            document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }""",
        names,
    )


def test_a_film_of_a_minute_from_drop_to_timeline_and_rows(page: Any, tmp_path: Path) -> None:
    drop(page, film_of_three(tmp_path / "three.mp4", 60))
    playwright.expect(page.locator("#film .progress p")).to_contain_text("Reading", timeout=60_000)
    assert float(page.locator("#film progress").get_attribute("value") or 0) < 1
    playwright.expect(page.locator("#film .strip")).to_have_count(3, timeout=240_000)
    playwright.expect(page.locator("#film-people tbody tr")).to_have_count(3)
    playwright.expect(page.locator("#announcer")).to_have_text("three.mp4 is read: 3 people in 0:59.")
    page.wait_for_function("() => document.querySelector('#film video')?.readyState >= 2")
    with page.expect_download() as waiting:
        page.click("#film [data-do=rows]")
    with Path(waiting.value.path()).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["track_id"] for row in rows} == {"1", "2", "3"}
    assert float(rows[-1]["time_s"]) > 59
    time = page.locator("#film .timeline")
    time.focus()
    page.keyboard.press("Home")
    for _ in range(6):
        page.keyboard.press("PageUp")
    assert float(time.get_attribute("aria-valuenow")) == pytest.approx(30, abs=1)
    page.wait_for_function("() => Math.abs(document.querySelector('#film video').currentTime - 30) < 1")
    playwright.expect(page.locator("#film .readout")).to_contain_text("person 3")
    wanted, came = reachable(page)
    assert wanted <= came
    shoot(page, "video-timeline")
    page.emulate_media(color_scheme="dark")
    shoot(page, "video-timeline-dark")
    assert faults(page) == []


def test_a_film_can_be_cancelled_and_sent_again(page: Any, tmp_path: Path) -> None:
    drop(page, film_of_three(tmp_path / "three.mp4", 60))
    playwright.expect(page.locator("#film .progress p")).to_contain_text("Reading", timeout=60_000)
    with page.expect_response(lambda r: "v1/jobs" in r.url and r.request.method == "DELETE") as waiting:
        page.locator("#film .cancel").focus()
        page.keyboard.press("Enter")
    assert waiting.value.status == 204
    playwright.expect(page.locator("#film .error")).to_have_text("Cancelled.")
    assert page.evaluate("() => document.activeElement !== document.body"), "the focus was lost"
    shoot(page, "video-cancelled")
    page.click("#film .again")
    playwright.expect(page.locator("#film .progress")).to_be_visible()


def test_of_a_film_without_its_copy_none_is_offered(page: Any, tmp_path: Path) -> None:
    """The service left it out, as one that grew too large."""

    def without(route: Any) -> None:
        if route.request.method != "GET":
            route.continue_()
            return
        state = route.fetch().json()
        if state["state"] == "done":
            state |= {"results": ["rows", "events"], "warning": "The annotated copy was left out: it is more than 400 MB."}
        route.fulfill(json=state)

    page.route(re.compile(r"/v1/jobs/[\w-]+$"), without)
    drop(page, film_of_three(tmp_path / "three.mp4", 2))
    playwright.expect(page.locator("#film")).to_contain_text("The annotated copy was left out", timeout=60_000)
    playwright.expect(page.locator("#film [data-do=rows]")).to_have_count(1)
    playwright.expect(page.locator("#film [data-do=copy], #film video")).to_have_count(0)


def test_a_film_is_known_by_its_name_where_the_browser_knows_no_type(page: Any) -> None:
    page.complaints_allowed = True
    drop_anywhere(page, "holiday.MTS")
    playwright.expect(page.locator("#tab-video")).to_have_attribute("aria-selected", "true")
    playwright.expect(page.locator("#film .error")).to_contain_text("Not an MP4")


def test_files_that_are_dropped_beside_a_film_are_told(page: Any) -> None:
    page.complaints_allowed = True
    page.route("**/v1/video*", lambda route: route.abort())
    drop_anywhere(page, "a.mp4", "b.mp4", "c.jpg")
    playwright.expect(page.locator("#status")).to_have_text("2 files left out: one film is read at a time.")
    drop_anywhere(page, "a.mp4")
    playwright.expect(page.locator("#status")).to_have_text("")
    page.route("**/v1/weights", lambda route: route.fulfill(json={**route.fetch().json(), "reads_films": False}))
    page.reload()
    playwright.expect(page.locator("#film-limits")).to_contain_text("reads no films")
    drop_anywhere(page, "a.mp4", "b.mp4")
    playwright.expect(page.locator("#status")).to_contain_text(
        "This service reads no films"
    )  # why nothing is read, and not what was left out


def test_what_is_not_a_film_is_told(page: Any, tmp_path: Path) -> None:
    page.complaints_allowed = True
    path = tmp_path / "not.mp4"
    path.write_bytes(b"no film" * 100)
    drop(page, path)
    playwright.expect(page.locator("#film .error")).to_contain_text("Not an MP4")
    shoot(page, "video-error")
