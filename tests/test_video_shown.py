"""What a player shows is what is read: pixel shapes, display matrices, colors; and the annotated copy plays like its video."""

from __future__ import annotations

import itertools
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ferkit
from ferkit import Pipeline

pytest.importorskip("av", reason='needs the video extra: pip install "ferkit[video]"')

import av

from ferkit.video.display import turned

RED, GREEN, BLUE, WHITE = (200, 40, 40), (40, 200, 40), (40, 40, 200), (220, 220, 220)


def quarters(width: int, height: int) -> np.ndarray:
    """Red top left, green top right, blue bottom left, white bottom right."""
    pixels = np.empty((height, width, 3), np.uint8)
    x, y = width // 2, height // 2
    pixels[:y, :x], pixels[:y, x:], pixels[y:, :x], pixels[y:, x:] = RED, GREEN, BLUE, WHITE
    return pixels


def corners(pixels: np.ndarray) -> list[str]:
    """Name the colors top left, top right, bottom left, bottom right."""
    h, w = pixels.shape[:2]
    names = {"red": RED, "green": GREEN, "blue": BLUE, "white": WHITE}
    found = [pixels[y, x].astype(int) for y, x in itertools.product((h // 4, 3 * h // 4), (w // 4, 3 * w // 4))]
    return [min(names, key=lambda name: float(np.abs(color - names[name]).sum())) for color in found]


def film(
    path: Path, pixels: np.ndarray, ratio: Fraction = Fraction(1), codec: str = "libx264", count: int = 4, form: str | None = None
) -> Path:
    with av.open(str(path), "w", format=form) as file:
        stream = file.add_stream(codec, rate=25)
        stream.height, stream.width = pixels.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.sample_aspect_ratio = ratio
        for _ in range(count):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(stream.encode(None))
    return path


def with_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 44
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "ratio", [Fraction(1), Fraction(4, 3), Fraction(64, 45), Fraction(2), Fraction(8, 9), Fraction(10, 11), Fraction(1, 2)], ids=str
)
@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mov", "mpeg4"),
        ("a.mkv", "libx264"),
        ("a.ts", "libx264"),
        ("a.m2ts", "mpeg2video"),
        ("a.avi", "mpeg4"),
        ("a.h264", "libx264"),
    ],
)
def test_pixels_are_square(tmp_path: Path, name: str, codec: str, ratio: Fraction) -> None:
    if codec == "mpeg2video" and ratio not in (1, Fraction(64, 45)):
        pytest.skip("MPEG-2 names the shape of the picture, of which there are four")
    path = film(tmp_path / name, quarters(180, 144), ratio, codec, form="mpegts" if name.endswith("m2ts") else None)
    got = list(ferkit.frames(path))
    assert len(got) == 4
    for frame in got:
        assert frame.pixels.shape == (144, pytest.approx(180 * ratio, abs=1), 3)
        assert corners(frame.pixels) == ["red", "green", "blue", "white"]


def test_a_face_is_the_same_whatever_the_shape_of_the_pixels(astronaut: np.ndarray, tmp_path: Path) -> None:
    pipeline, answers = Pipeline(), []
    for n, ratio in enumerate((Fraction(1), Fraction(4, 3), Fraction(64, 45), Fraction(2))):
        squeezed = np.asarray(Image.fromarray(astronaut).resize((round(astronaut.shape[1] / ratio / 2) * 2, astronaut.shape[0])))
        frame = next(iter(ferkit.frames(film(tmp_path / f"{n}.mp4", squeezed, ratio))))
        assert abs(frame.pixels.shape[1] - astronaut.shape[1]) <= 2
        answers.append(pipeline(frame.pixels).faces)
    assert [len(faces) for faces in answers] == [1] * 4
    assert len({faces[0].expression.label for faces in answers}) == 1  # type: ignore[union-attr]
    for faces in answers[1:]:
        assert faces[0].box == pytest.approx(answers[0][0].box, abs=12)
        assert faces[0].expression.confidence == pytest.approx(answers[0][0].expression.confidence, abs=0.1)  # type: ignore[union-attr]


def test_the_shape_changes_in_mid_stream(tmp_path: Path) -> None:
    """A broadcast that goes from 16:9 to 4:3."""
    wide = film(tmp_path / "wide.m2v", quarters(180, 144), Fraction(64, 45), "mpeg2video")
    square = film(tmp_path / "square.m2v", quarters(180, 144), Fraction(16, 15), "mpeg2video")
    (tmp_path / "both.m2v").write_bytes(wide.read_bytes() + square.read_bytes())
    assert [frame.pixels.shape[1] for frame in ferkit.frames(tmp_path / "both.m2v")] == [256] * 4 + [192] * 4


def test_nonsense_is_not_believed(tmp_path: Path) -> None:
    for n, ratio in enumerate((Fraction(1, 200), Fraction(250))):
        frame = next(iter(ferkit.frames(film(tmp_path / f"{n}.mp4", quarters(64, 48), ratio))))
        assert frame.pixels.shape == (48, 64, 3)


# The matrices of the eight ways to lay a picture, and what a player shows in the corners.
WAYS = {
    (1, 0, 0, 1): ["red", "green", "blue", "white"],
    (0, 1, -1, 0): ["blue", "red", "white", "green"],  # a quarter turn clockwise: a phone held upright
    (-1, 0, 0, -1): ["white", "blue", "green", "red"],
    (0, -1, 1, 0): ["green", "white", "red", "blue"],
    (-1, 0, 0, 1): ["green", "red", "white", "blue"],  # mirrored: a front camera
    (1, 0, 0, -1): ["blue", "white", "red", "green"],
    (0, 1, 1, 0): ["red", "blue", "green", "white"],
    (0, -1, -1, 0): ["white", "green", "blue", "red"],
}


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_display_matrix(tmp_path: Path, way: tuple[int, int, int, int], suffix: str) -> None:
    path = with_matrix(film(tmp_path / f"a{suffix}", quarters(96, 64), Fraction(4, 3)), *way)
    frame = next(iter(ferkit.frames(path)))
    assert frame.pixels.shape == ((128, 64, 3) if way[0] == 0 else (64, 128, 3))
    assert corners(frame.pixels) == WAYS[way]
    assert frame.pixels.flags["C_CONTIGUOUS"]


def test_slightly_turned_is_the_nearest_quarter() -> None:
    pixels = quarters(8, 4)
    turn = lambda degrees: (round(65536 * np.cos(np.deg2rad(degrees))), round(65536 * np.sin(np.deg2rad(degrees))))  # noqa: E731
    for degrees, expected in ((10, (1, 0, 0, 1)), (80, (0, 1, -1, 0)), (190, (-1, 0, 0, -1)), (260, (0, -1, 1, 0))):
        cos, sin = turn(degrees)
        assert corners(turned(pixels, (cos, sin, 0, -sin, cos, 0, 0, 0, 1 << 30))) == WAYS[expected]
    assert (turned(pixels, None) == pixels).all()


def tagged(path: Path, pixels: np.ndarray, matrix: str, full: bool) -> Path:
    """Encode RGB with a matrix and a range worked out here, and tag the stream with both."""
    kr, kb = {"bt709": (0.2126, 0.0722), "bt601": (0.299, 0.114), "bt2020": (0.2627, 0.0593)}[matrix]
    rgb = pixels.astype(float) / 255
    y = kr * rgb[..., 0] + (1 - kr - kb) * rgb[..., 1] + kb * rgb[..., 2]
    cb, cr = (rgb[..., 2] - y) / (2 * (1 - kb)), (rgb[..., 0] - y) / (2 * (1 - kr))
    luma, chroma, foot = (255, 255, 0) if full else (219, 224, 16)
    planes = [luma * y + foot, (chroma * cb + 128)[::2, ::2], (chroma * cr + 128)[::2, ::2]]
    stacked = np.concatenate([np.clip(np.round(p), 0, 255).astype(np.uint8).reshape(-1, pixels.shape[1]) for p in planes])
    number = {"bt709": 1, "bt601": 6, "bt2020": 9}[matrix]
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"qp": "1", "bf": "0"})
        stream.height, stream.width = pixels.shape[:2]
        stream.pix_fmt = "yuvj420p" if full else "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = number, 2 if full else 1
        for _ in range(3):
            picture = av.VideoFrame.from_ndarray(stacked, format="yuv420p")
            picture.colorspace, picture.color_range = number, 2 if full else 1
            if full:
                raw, picture = stacked, av.VideoFrame(pixels.shape[1], pixels.shape[0], "yuvj420p")
                for plane, part in zip(picture.planes, np.split(raw.ravel(), np.cumsum([p.size for p in planes])[:-1]), strict=True):
                    rows = part.reshape(plane.height, plane.width)
                    padded = np.zeros((plane.height, plane.line_size), np.uint8)
                    padded[:, : plane.width] = rows
                    plane.update(padded.tobytes())
                picture.colorspace, picture.color_range = number, 2
            file.mux(stream.encode(picture))
        file.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", ["bt709", "bt601", "bt2020"])
def test_colors_are_those_of_the_tag(tmp_path: Path, matrix: str, full: bool) -> None:
    pixels = quarters(96, 64)
    for name in ("a.mp4", "a.mkv"):
        frame = next(iter(ferkit.frames(tagged(tmp_path / name, pixels, matrix, full))))
        for y, x in itertools.product((16, 48), (24, 72)):
            assert frame.pixels[y, x].astype(int) == pytest.approx(pixels[y, x].astype(int), abs=4)
