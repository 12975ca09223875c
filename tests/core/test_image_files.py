"""Folders: no picture is left out without a word, and no bad one stops a command."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from ferkit import ExpressionClassifier, Face, FaceDetector, FerkitError, ImageError, load_image
from ferkit.cli.main import main
from ferkit.data import read_folder
from ferkit.data.folders import read_photos
from ferkit.data.preparing import prepare
from ferkit.evaluation.measuring import evaluate
from ferkit.image_files import IMAGE_SUFFIXES, begins_like_an_image, image_files
from ferkit.images import load, pixels_of
from ferkit.train.finetuning.splitting import gather, list_parts

READABLE = (".jpg", ".JPG", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".jp2", ".j2k")
READABLE += (".ppm", ".pgm", ".pnm", ".tga", ".ico", ".pcx", ".qoi", ".mpo", ".avif", ".rgb", ".icns")
UNREADABLE = ("IMG_1.HEIC", "b.heif", "c.svg", "d.jxl", "e.CR3", "f.psd", "g.exr", "h.nef", "i.PEF", "j.xcf", "k.emf")
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


@pytest.fixture
def folder(tmp_path: Path, crops: np.ndarray) -> Path:
    """One readable picture of every kind, some that have lost or mixed up their suffix, others that nothing reads, and no pictures."""
    where = tmp_path / "photos"
    where.mkdir()
    kinds = Image.registered_extensions()
    for number, suffix in enumerate(READABLE):
        if kinds.get(suffix.lower()) not in Image.SAVE:  # this Pillow has no AVIF, or is too old for QOI
            continue
        Image.fromarray(crops[number % len(crops)]).convert("RGB").save(where / f"{number:02d}{suffix}")
    for name, kind in {"no_suffix": "JPEG", "a.jpg_large": "PNG", "b.jpg.download": "WEBP", "c.tmp": "BMP"}.items():
        Image.fromarray(crops[3]).save(where / name, kind)
    for name in UNREADABLE:
        (where / name).write_bytes(HEIC if name.lower().endswith("heic") else b"nothing that is known")
    (where / "notes.txt").write_text("no picture")
    (where / "labels.json").write_text("{}")
    (where / ".DS_Store").write_bytes(bytes(64))
    return where


def wanted(folder: Path) -> tuple[set[str], set[str]]:
    names = {path.name for path in folder.iterdir()} - {"notes.txt", "labels.json", ".DS_Store"}
    return names - set(UNREADABLE), set(UNREADABLE)


def test_predict_reads_what_can_be_read_and_names_the_rest(folder: Path) -> None:
    done = CliRunner().invoke(main, ["predict", str(folder), "--detector", "none", "--format", "jsonl"])
    readable, unreadable = wanted(folder)
    assert {Path(json.loads(line)["image"]).name for line in done.stdout.splitlines()} == readable
    for name in unreadable:
        assert f"{name}: " in done.stderr
    assert "notes.txt" not in done.stderr
    assert done.exit_code == 1


def test_label_folders_read_what_can_be_read_and_name_the_rest(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "faces"
    root.mkdir()
    folder.rename(root / "happy")
    readable, unreadable = wanted(root / "happy")
    (root / "sad").mkdir()
    Image.new("L", (48, 48), 90).save(root / "sad" / "a.png")
    photos = read_photos(root, ExpressionClassifier("fer2013-n-v6"), FaceDetector("none"))
    assert {file.name for file in photos.files} == readable | {"a.png"}
    assert {Path(source).name for source, _ in photos.faces.skipped} == unreadable
    faces = read_folder(root)
    assert len(faces) == len(readable) + 1
    assert {Path(source).name for source, _ in faces.skipped} == unreadable


def test_evaluate_and_prepare_go_on_and_name_what_they_skip(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "faces"
    (root / "sad").mkdir(parents=True)
    folder.rename(root / "happy")
    Image.new("L", (48, 48), 90).save(root / "sad" / "a.png")
    out = tmp_path / "out"
    for command in (["evaluate", "--data", str(root), "--split", "Training"], ["prepare", "--data", str(root), "--out", str(out)]):
        done = CliRunner().invoke(main, [*command, "--format", "json"])
        report = json.loads(done.stdout)
        assert {Path(source).name for source, _ in report["skipped"]} == set(UNREADABLE), command
        assert all(name in done.stderr for name in UNREADABLE)
        assert done.exit_code == 1


def test_heic_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "IMG_1.HEIC").write_bytes(HEIC + bytes(100))
    for given in (tmp_path / "IMG_1.HEIC", HEIC, io.BytesIO(HEIC)):
        with pytest.raises(ImageError, match="pip install pillow-heif"):
            load_image(given)


def test_heic_is_read_where_pillow_heif_is_there(tmp_path: Path, crops: np.ndarray) -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra heif")
    picture = Image.fromarray(crops[0]).convert("RGB").resize((64, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    try:
        pillow_heif.from_pillow(picture).save(tmp_path / "a.heic", quality=95)
        pillow_heif.from_pillow(picture).save(tmp_path / "turned.heic", quality=95, exif=exif.tobytes())
    except RuntimeError:
        pytest.skip("this libheif does not write HEIC")
    loaded = load_image(tmp_path / "a.heic")
    assert loaded.shape == (32, 64, 3)
    assert np.abs(loaded.astype(int) - np.asarray(picture)).mean() < 6
    assert load_image((tmp_path / "turned.heic").read_bytes()).shape == (64, 32, 3)
    data = (tmp_path / "a.heic").read_bytes()
    for cut in (30, 200, len(data) - 20):
        with pytest.raises(ImageError):
            load_image(data[:cut])


@pytest.mark.parametrize("kind", ["plain", "turned", "alpha", "deep", "grid", "grey"])
def test_a_heic_that_is_shrunk_is_that_of_pillow(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pixels are taken from the decoder's memory; turned, with alpha, with 10 bits, in tiles as phones write it, and grey."""
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra heif")
    y, x = np.mgrid[0:500, 0:722]
    pixels = np.stack([x % 256, y % 256, (x + y) // 5], axis=2).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.heic"
    if kind == "grid":
        monkeypatch.setattr(pillow_heif.options, "GRID_TILE_SIZE", 256)
    try:
        if kind == "deep":
            pillow_heif.encode("RGB;16", (722, 500), (pixels.astype("<u2") << 8).tobytes(), str(path), quality=95)
        else:
            picture = Image.fromarray(pixels).convert({"alpha": "RGBA", "grey": "L"}.get(kind, "RGB"))
            if kind == "alpha":
                picture.putalpha(Image.fromarray((x // 3).astype(np.uint8)))
            pillow_heif.from_pillow(picture).save(path, quality=95, **({"exif": exif.tobytes()} if kind == "turned" else {}))
    except (RuntimeError, ValueError) as error:
        pytest.skip(f"this libheif does not write it: {error}")
    loaded = load(path, max_side=200)
    assert (loaded.width, loaded.height) == ((500, 722) if kind == "turned" else (722, 500))
    assert max(loaded.pixels.shape) == 200
    assert pixels_of(path.read_bytes()) == 722 * 500 * (2 if kind == "deep" else 1)
    monkeypatch.setattr("ferkit.images._decode_heif", lambda *_: None)
    wanted = load(path, max_side=200)
    assert wanted.pixels.shape == loaded.pixels.shape
    assert np.abs(loaded.pixels.astype(int) - wanted.pixels).mean() < 4
    data = path.read_bytes()
    assert load(data + b"a phone's own trailer, which is no box").width == wanted.width
    for cut in (30, 200, len(data) // 2, len(data) - 1):
        with pytest.raises(ImageError):
            load(data[:cut], max_side=200)


def test_every_suffix_of_pillows_pictures_is_known() -> None:
    Image.init()
    no_photos = {"BLP", "BUFR", "FITS", "FLI", "FTEX", "GBR", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "PALM", "PIXAR"}
    missing = (
        {s for s, kind in Image.registered_extensions().items() if kind not in no_photos} - set(IMAGE_SUFFIXES) - {"", ".ps"}
    )  # an older Pillow names one format by none
    assert not missing


def test_broken_links_and_closed_folders_are_named(tmp_path: Path, crops: np.ndarray) -> None:
    Image.fromarray(crops[0]).save(tmp_path / "a.png")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    names = {path.name for path in image_files(tmp_path)}
    assert {"a.png", "gone.jpg"} <= names
    done = CliRunner().invoke(main, ["predict", str(tmp_path), "--detector", "none", "--format", "jsonl"])
    assert len(done.stdout.splitlines()) == 1
    assert "gone.jpg does not exist" in done.stderr
    done = CliRunner().invoke(main, ["predict", str(tmp_path / "*"), "--detector", "none", "--format", "jsonl"])
    assert (len(done.stdout.splitlines()), "gone.jpg does not exist" in done.stderr) == (1, True)
    if os.access(closed, os.R_OK):  # root may read it
        return
    assert "closed" in names
    assert "closed' cannot be read" in done.stderr


def test_a_name_that_no_file_can_have_is_no_picture(tmp_path: Path) -> None:
    assert not begins_like_an_image(tmp_path / ("x" * 300))


def test_an_address_or_a_home_on_the_command_line(tmp_path: Path, crops: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "faces" / "happy").mkdir(parents=True)
    Image.fromarray(crops[0]).save(tmp_path / "faces" / "happy" / "a.png")
    given = ["https://a.org/b.jpg?size=[1]", "~/faces", "~/faces/happy/a.png", "~/faces/*/a.png"]
    done = CliRunner().invoke(main, ["predict", *given, "--detector", "none", "--format", "jsonl"])
    assert len(done.stdout.splitlines()) == 3
    assert "https://a.org/b.jpg?size=[1] is an address" in done.stderr
    assert len(read_photos("~/faces", ExpressionClassifier("fer2013-n-v6"), FaceDetector("none"))) == 1


@pytest.mark.parametrize("bad", ["exif", "cut", "empty", "text", "heic", "float", "link", "avif"])
def test_no_bad_picture_ends_a_command(bad: str, tmp_path: Path, crops: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """What predict, evaluate, prepare and fine-tuning do with one bad picture among good ones: name it and go on."""
    root = tmp_path / "faces"
    for number, label in enumerate(("angry", "happy", "sad")):
        (root / label).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(crops[6 * number + i]).save(root / label / f"{i}.png")
    path = root / "happy" / "bad.jpg"
    whole = io.BytesIO()
    if bad == "avif" and "AVIF" not in Image.registered_extensions().values():
        pytest.skip("this Pillow has no AVIF")
    Image.fromarray(crops[20]).convert("RGB").save(whole, "AVIF" if bad == "avif" else "JPEG")
    content = {
        "exif": b"\xff\xd8\xff\xe1\0\x10Exif\0\0II*\0\xff\xff\xff\xff",
        "cut": whole.getvalue()[:-200],
        "empty": b"",
        "text": b"no picture",
        "heic": HEIC,
        "float": b"Pf\n48 48\n-1.0\n" + bytes(48 * 48 * 4),
        "avif": whole.getvalue()[:-200] + bytes(200),
    }
    path.symlink_to(tmp_path / "nowhere") if bad == "link" else path.write_bytes(content[bad])
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    done = CliRunner().invoke(main, ["predict", str(root), "--detector", "none", "--format", "jsonl"])
    assert len(done.stdout.splitlines()) == 18
    classifier, detector = ExpressionClassifier("fer2013-n-v6"), FaceDetector("none")
    measured = evaluate(classifier, root, split="Training", detector=detector)
    prepared = prepare(root, tmp_path / "out", detector=detector)
    table = gather(list_parts(root), classifier, detector, 0.2, 0, False)
    assert measured["n"] == sum(sum(row.values()) for row in prepared["splits"].values()) == 18
    assert len(table.training) + len(table.held_out) == 18
    for skipped in (measured["skipped"], prepared["skipped"], [entry for entry in table.skipped if "bad" in entry[0]]):
        assert [Path(source).name for source, _ in skipped] == ["bad.jpg"]
        assert "bad.jpg" in skipped[0][1]
    assert "bad.jpg" in done.stderr


def test_a_picture_that_breaks_the_detector_ends_no_command(tmp_path: Path, crops: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        Image.fromarray(crops[number]).resize((48 + number, 48)).save(tmp_path / f"{number}.png")
    whole = FaceDetector.detect_rgb

    def detect(self: FaceDetector, pixels: np.ndarray) -> list[Face]:
        if pixels.shape[1] == 50:
            raise FerkitError("OpenCV failed on what it was given.")
        return whole(self, pixels)

    monkeypatch.setattr(FaceDetector, "detect_rgb", detect)
    done = CliRunner().invoke(main, ["predict", str(tmp_path), "--detector", "none", "--format", "jsonl", "--draw", str(tmp_path / "out")])
    assert [Path(json.loads(line)["image"]).stem for line in done.stdout.splitlines()] == ["0", "1", "3", "4"]
    assert f"{tmp_path / '2.png'}: OpenCV failed" in done.stderr
    assert (done.exit_code, len(list((tmp_path / "out").iterdir()))) == (1, 4)
