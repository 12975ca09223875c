"""Drawn pictures: every label is there and legible, faces stay in sight, colors and letters tell labels apart, blurred heads are gone."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ferkit import Expression, ExpressionClassifier, Face, FaceDetector, InputError, LabelSet, Pipeline, Result
from ferkit.cli.main import main
from ferkit.colors import _seen, distinct
from ferkit.drawing import fonts
from ferkit.drawing.anonymous import anonymized, head
from ferkit.drawing.fonts import _has, font, readable
from ferkit.drawing.layout import _features, clipped, overlap, place, text_sizes
from ferkit.labels import FER7, LABEL_SETS
from ferkit.plots import class_distribution, confusion_matrix
from ferkit.weights.specs import Output

HAPPY = Expression("happy", 0.9, dict.fromkeys(FER7, 0.1 / 6) | {"happy": 0.9})
YELLOW = np.array((240, 180, 20))


def result(size: tuple[int, int], *boxes: tuple[float, float, float, float], grey: int = 128) -> Result:
    points = [tuple((b[0] + u * (b[2] - b[0]), b[1] + v * (b[3] - b[1])) for u, v in SPOTS) for b in boxes]
    faces = tuple(Face(box, 0.9, spots, HAPPY) for box, spots in zip(boxes, points, strict=True))
    return Result(faces, *size, pixels=np.full((size[1], size[0], 3), grey, np.uint8))


SPOTS = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8))
PORTRAITS = {
    "fills": (0.0, 0.0, 1.0, 1.0),
    "leaves": (-0.2, -0.3, 1.2, 1.2),
    "cut above": (0.2, -0.4, 0.8, 0.6),
    "cut below": (0.2, 0.5, 0.8, 1.5),
    "cut left": (-0.5, 0.2, 0.4, 0.9),
    "cut right": (0.7, 0.2, 1.6, 0.9),
    "in a corner": (-0.1, -0.1, 0.2, 0.2),
    "tiny": (0.5, 0.5, 0.52, 0.53),
}


def plate_pixels(drawn: Image.Image) -> np.ndarray:
    """Where the label's color is, as a mask."""
    return np.asarray(np.abs(np.asarray(drawn).astype(int) - YELLOW).max(axis=2) < 25)


@pytest.mark.parametrize("side", [200, 640, 1920, 4000])
@pytest.mark.parametrize("where", PORTRAITS)
def test_the_label_is_always_there_and_legible(where: str, side: int) -> None:
    width, height = side, round(0.75 * side)
    box = tuple(v * s for v, s in zip(PORTRAITS[where], (width, height) * 2, strict=True))
    mask = plate_pixels(result((width, height), box).draw(bars=False))  # type: ignore[arg-type]
    size = text_sizes(width, height)[1]
    assert mask.sum() > 3 * size * size, "no plate"
    rows = np.flatnonzero(mask.mean(axis=1) > 3 * size / width)  # rows of the plate, wider than the lines of a box
    assert len(rows) >= 0.9 * size


@settings(max_examples=200, deadline=None)
@given(
    size=st.tuples(st.integers(48, 4000), st.integers(48, 4000)),
    shapes=st.lists(st.tuples(*[st.floats(-0.5, 1.5)] * 2, *[st.floats(0.01, 1.5)] * 2), min_size=1, max_size=12),
)
def test_every_place_lies_in_the_picture(size: tuple[int, int], shapes: list[tuple[float, float, float, float]]) -> None:
    width, height = size
    boxes = [(x * width, y * height, (x + w) * width, (y + h) * height) for x, y, w, h in shapes]
    unit = text_sizes(width, height)[1]
    plates = [(min(width, 6 * unit), min(height, 1.4 * unit))] * len(boxes)
    placed, covered = place(width, height, boxes, plates)
    assert len(placed) == len(boxes)
    assert covered >= 0
    for x1, y1, x2, y2 in placed:
        assert x1 >= 0
        assert y1 >= 0
        assert x2 <= width + 1e-6
        assert y2 <= height + 1e-6


@pytest.mark.parametrize("side", [640, 1920, 4000])
def test_twenty_faces_keep_their_labels_apart_and_their_features_free(side: int) -> None:
    width, height = side, 3 * side // 4
    w, h = width / 5, height / 4
    boxes = [(i % 5 * w + 0.3 * w, i // 5 * h + 0.3 * h, i % 5 * w + 0.7 * w, i // 5 * h + 0.9 * h) for i in range(20)]
    unit = text_sizes(width, height)[1]
    placed, covered = place(width, height, boxes, [(8 * unit, 1.4 * unit)] * 20)
    assert covered < 0.02
    for i, plate in enumerate(placed):
        assert not any(overlap(plate, other) > 1e-6 for j, other in enumerate(placed) if j != i)
        assert not any(overlap(plate, _features(clipped(box, width, height))) > 0 for box in boxes)


@pytest.mark.parametrize("side", [200, 640, 1920])
def test_nothing_covers_eyes_nose_and_mouth(side: int) -> None:
    for share in (0.15, 0.4, 0.7):
        low, high = (0.5 - share / 2) * side, (0.5 + share / 2) * side
        shown = result((side, side), (low, low, high, high))
        drawn = np.asarray(shown.draw())
        x1, y1, x2, y2 = (round(v) for v in _features(shown[0].box))
        assert (drawn[y1:y2, x1:x2] == 128).all()
        asked = np.asarray(shown.draw(landmarks=True))[y1:y2, x1:x2]
        changed = (asked != 128).any(axis=2).mean()
        assert 0 < changed < 0.08  # thin circles


def test_bars_cover_no_face() -> None:
    shown = result((640, 480), (100, 100, 300, 330), (320, 90, 520, 330))
    plain, barred = np.asarray(shown.draw(bars=False)), np.asarray(shown.draw())
    for face in shown:
        x1, y1, x2, y2 = (int(v) for v in face.box)
        assert np.array_equal(plain[y1:y2, x1:x2], barred[y1:y2, x1:x2])
    close = result((200, 200), (-20, -20, 210, 220))
    assert np.array_equal(np.asarray(close.draw()), np.asarray(close.draw(bars=False)))


@pytest.mark.shared
@pytest.mark.slow
def test_close_portraits_have_their_label(shared: Path) -> None:
    """Of the old drawing 312 of 389 faces of these photos had none: their boxes leave the picture."""
    pipeline = Pipeline()
    photos = sorted((shared / "photos" / "images").rglob("*.jpg"))[:60]
    for path in photos:
        for face in pipeline(path, keep_pixels=False):
            with Image.open(path) as picture:
                width, height = picture.size
            one = Result((Face(face.box, expression=HAPPY),), width, height, pixels=np.full((height, width, 3), 128, np.uint8))
            mask = plate_pixels(one.draw(bars=False))
            size = text_sizes(width, height)[1]
            assert (mask.mean(axis=1) > 3 * size / width).sum() >= 0.9 * size, path


# ---------------------------------------------------------------- colors


@pytest.mark.parametrize(
    "classes",
    [
        ("bored", "attentive", "确定"),
        tuple(f"label {i}" for i in range(12)),
        tuple(f"label {i}" for i in range(40)),
        ("happy", "sad", "bored", "smirk"),
        (*FER7.classes, "contempt", "doubt", "pain"),
    ],
)
def test_own_labels_have_colors_of_their_own(classes: tuple[str, ...]) -> None:
    labels = LabelSet("custom", classes)
    assert len(set(labels.colours)) == len(classes)
    assert labels.colours == LabelSet("again", classes).colours
    for name, color in labels.colors.items():
        if name in FER7.classes:
            assert color == FER7.colors[name]
    if len(classes) <= 12:
        lab = _seen(np.array(labels.colours, float))[:, 0]
        apart = np.linalg.norm(lab[:, None] - lab[None], axis=2) + 1000 * np.eye(len(lab))
        assert apart.min() > 15  # a just noticeable difference is about 2


def test_known_sets_keep_their_colors() -> None:
    for labels in LABEL_SETS.values():
        assert len(set(labels.colours)) == len(labels)
    assert FER7.colours[3] == (240, 180, 20)
    assert len(set(distinct(200))) == 200


def test_colors_are_kept_in_the_spec_and_by_parts() -> None:
    colors = ((1, 2, 3), (200, 0, 0), (0, 0, 200))
    output = Output("own", ("a", "b", "c"), ((0, 1, 2),), colors=colors)
    assert output.label_set.colours == colors
    with pytest.raises(InputError, match="2 colors; expected one for each of its 3 labels"):
        Output("own", ("a", "b", "c"), ((0, 1, 2),), colors=colors[:2])
    part = ExpressionClassifier("fer2013-n-v6", labels=("sad", "happy"))
    assert part.labels.colours == (FER7.colors["sad"], FER7.colors["happy"])
    shown = result((200, 200), (50, 50, 150, 150))
    blue = replace(shown, colors={"happy": (0, 0, 250)}).draw(bars=False)
    assert (np.asarray(blue) == (0, 0, 250)).all(axis=2).sum() > 100
    assert Pipeline("none", "fer2013-n-v6")(np.zeros((48, 48, 3), np.uint8)).colors == FER7.colors


def test_a_timeline_of_own_labels_has_as_many_colors() -> None:
    pytest.importorskip("av")
    from ferkit.video import Frame
    from ferkit.video.timeline import Timeline

    labels = LabelSet("custom", ("bored", "attentive", "确定"))
    timeline = Timeline(labels, thumbnails=False)
    for i in range(30):
        pixels = np.zeros((48, 48, 3), np.uint8)
        e = Expression("bored", 0.4, {"bored": 0.4, "attentive": 0.3, "确定": 0.3})
        timeline.add(Frame(i, i / 10, pixels), Result((Face((0, 0, 40, 40), expression=e, track_id=1),), 48, 48, pixels=pixels))
    strip = np.asarray(timeline.draw("名前"))[100:170, 400:1200].reshape(-1, 3)
    assert {tuple(c) for c in np.unique(strip, axis=0).tolist()} >= set(labels.colours)


# ---------------------------------------------------------------- letters


@pytest.mark.parametrize("name", ["happy", "glücklich", "радость", "χαρά", "确定", "嬉しい", "행복", "سعيد", "खुश", "\U000e0101x"])
def test_no_label_is_drawn_as_empty_boxes(name: str) -> None:
    written = readable(name, "label 3")
    assert written in (name, "label 3")
    face = font(written, 20)
    assert all(_has(str(getattr(face, "path", "")) if written == name and not _has_basic(name) else "", c) for c in written)
    e = Expression(name, 0.9, {name: 0.9, "other": 0.1})
    drawn = Result((Face((50, 50, 150, 150), expression=e),), 300, 200, pixels=np.full((200, 300, 3), 128, np.uint8)).draw()
    assert drawn.size == (300, 200)


@pytest.mark.parametrize("name", ["确定", "खुश", "嬉しい", "행복"])
def test_a_font_that_draws_one_box_for_a_whole_script_has_none_of_its_letters(name: str) -> None:
    """matplotlib brings such a font: Last Resort."""
    written = readable(name, "label 3")
    assert written == "label 3" or len({bytes(font(name, 32).getmask(letter)) for letter in name}) == len(set(name))


@pytest.mark.parametrize(("name", "written"), [("line\nbreak", "line break"), ("tab\tx", "tab x"), ("\r\n", "label 1"), (" a  b ", "a b")])
def test_a_label_is_one_line(name: str, written: str) -> None:
    assert readable(name, "label 1") == written
    e = Expression(name, 0.9, {name: 0.9, "other": 0.1})
    assert Result((Face((50, 50, 150, 150), expression=e),), 300, 200, pixels=np.full((200, 300, 3), 128, np.uint8)).draw().size == (
        300,
        200,
    )


@pytest.mark.parametrize(
    "name", ["a$b$", "$\\frac", "_hidden", "确定", "खुश", "متفاجئ", "line\nbreak", "x_1^2", "\N{SLIGHTLY SMILING FACE}"]
)
def test_reports_write_labels_as_they_are(name: str) -> None:
    """No formula between two dollars, no warning of a letter that a font lacks."""
    pytest.importorskip("matplotlib")
    plain = confusion_matrix(["happy", "other"], [[30, 1], [2, 40]])
    assert confusion_matrix([name, "other"], [[30, 1], [2, 40]]) != plain
    class_distribution({"Training": {name: 3, "other": 4}})


def _has_basic(text: str) -> bool:
    return all(_has("", c) for c in text)


def test_a_font_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FERKIT_FONT", str(tmp_path / "none.ttf"))
    with pytest.raises(InputError, match="FERKIT_FONT="):
        font("a", 12)


def test_fonts_are_looked_for_without_a_home_and_below_a_closed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose user is no user of its system, and for one who kept another's HOME."""
    pwd = pytest.importorskip("pwd", reason="POSIX asks there for a home")

    def nobody(_: int) -> None:
        raise KeyError("no such user")

    whole = Path.is_dir

    def closed(self: Path) -> bool:
        if self.parts[0] == "~":
            raise PermissionError(13, "Permission denied", str(self))
        return whole(self)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setattr(Path, "is_dir", closed)
    assert isinstance(fonts._files.__wrapped__(), tuple)


# ---------------------------------------------------------------- anonymous copies

BOXES = [(100, 80, 180, 190), (-30, -20, 60, 70), (240, 150, 340, 260), (280, 10, 330, 60)]


def noisy(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (240, 320, 3)).astype(np.uint8)


def test_nothing_of_a_covered_head_is_in_the_copy() -> None:
    """Two pictures that differ in the heads only give the same copy: whatever was there cannot be brought back."""
    first, second = noisy(0), noisy(0)
    inside = np.zeros((240, 320), bool)
    for box in BOXES:
        x1, y1, x2, y2 = (int(v) for v in head(box))
        inside[max(0, y1) : max(0, y2), max(0, x1) : max(0, x2)] = True
        bx1, by1, bx2, by2 = (max(0, v) for v in box)
        assert inside[by1:by2, bx1:bx2].all()
    second[inside] = noisy(1)[inside]
    assert not np.array_equal(first, second)
    copy = anonymized(first, BOXES)
    assert np.array_equal(copy, anonymized(second, BOXES))
    assert np.array_equal(copy[~inside & (first == copy).all(axis=2)], first[~inside & (first == copy).all(axis=2)])
    assert (first == noisy(0)).all()  # the original is left alone


@pytest.mark.parametrize("box", [(-10, -10, 400, 300), (500, 500, 600, 600), (0, 0, 0, 0), (-50, -50, -10, -10), (319, 239, 330, 250)])
def test_any_box_can_be_covered(box: tuple[float, float, float, float]) -> None:
    assert anonymized(noisy(0), [box]).shape == (240, 320, 3)


def test_a_blurred_portrait_has_no_face_and_no_metadata(photo: Path, tmp_path: Path) -> None:
    drawn = Pipeline()(photo).draw(blur=True)
    assert len(FaceDetector().detect(drawn)) == 0
    assert not drawn.getexif()
    source, out = tmp_path / "with.jpg", tmp_path / "out.jpg"
    with Image.open(photo) as picture:
        exif = Image.Exif()
        exif[0x010E] = "a secret place"
        picture.convert("RGB").save(source, exif=exif)
    done = CliRunner().invoke(main, ["predict", str(source), "--draw", str(out), "--blur-faces"])
    assert done.exit_code == 0, done.output
    assert b"secret" in source.read_bytes()
    assert b"secret" not in out.read_bytes()
    assert b"Exif" not in out.read_bytes()
    assert len(FaceDetector().detect(out)) == 0
    alone = CliRunner().invoke(main, ["predict", str(source), "--blur-faces"])
    assert (alone.exit_code, "--draw" in alone.output) == (2, True)


def test_landmarks_do_not_tell_on_a_blurred_face() -> None:
    shown = result((200, 200), (50, 50, 150, 150))
    assert np.array_equal(np.asarray(shown.draw(blur=True, landmarks=True)), np.asarray(shown.draw(blur=True)))


def test_the_service_answers_anonymous_pictures(photo: Path) -> None:
    pytest.importorskip("fastapi")
    from fastapi.testclient import TestClient

    from ferkit.serve.app import create_app
    from ferkit.serve.settings import Settings

    def faces(answer: bytes) -> int:
        with Image.open(io.BytesIO(answer)) as picture:
            return len(FaceDetector().detect(picture))

    with TestClient(create_app()) as client:
        data = photo.read_bytes()
        assert faces(client.post("/v1/predict?draw=1", content=data).content) == 1
        assert faces(client.post("/v1/predict?draw=1&blur=1", content=data).content) == 0
        refused = client.post("/v1/predict?blur=1", content=data)
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "blur_without_draw")
    with TestClient(create_app(Settings(blur_faces=True))) as client:
        assert faces(client.post("/v1/predict?draw=1", content=data).content) == 0


# ---------------------------------------------------------------- the page draws alike


@pytest.mark.browser
def test_the_page_places_labels_as_the_package_does(tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    import http.server
    import shutil
    import threading

    import ferkit

    browser_path = shutil.which("chromium")
    if browser_path is None:
        pytest.skip("needs chromium")
    random = np.random.default_rng(0)
    cases = []
    for _ in range(30):
        width, height = (float(v) for v in random.integers(200, 2000, 2))
        corners = random.uniform(-0.2, 1, (random.integers(1, 12), 2)) * (width, height)
        sides = random.uniform(0.05, 0.6, corners.shape) * min(width, height)
        plates = random.uniform(20, 100, (len(corners), 2)) * (1, 0.3)
        cases.append([width, height, np.concatenate([corners, corners + sides], 1).tolist(), plates.tolist()])
    folder = Path(ferkit.__file__).parent / "serve" / "static"

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object, **rest: object) -> None:
            super().__init__(*args, directory=str(folder), **rest)  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        with sync_api.sync_playwright() as play:
            browser = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(f"{address}/icon.svg")
            script = (
                "async ([address, cases]) => { const m = await import(address + '/layout.js'); return cases.map((c) => m.place(...c)); }"
            )
            answers = page.evaluate(script, [address, cases])
            browser.close()
        server.shutdown()
    for case, (placed, covered) in zip(cases, answers, strict=True):
        expected, cost = place(*case)  # type: ignore[arg-type]
        assert np.allclose(placed, expected, atol=1e-6)
        assert covered == pytest.approx(cost, abs=1e-6)
