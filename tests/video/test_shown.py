"""What a player shows is what is read: pixel shapes, display matrices, colors; and the annotated copy plays like its video."""

from __future__ import annotations

import itertools
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import ferkit
from ferkit import Pipeline
from ferkit.cli.main import main

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


def annotated(video: Path, out: Path, *more: str) -> list[ferkit.video.Frame]:
    done = CliRunner().invoke(main, ["video", str(video), "-o", str(out), *more])
    assert done.exit_code == 0, done.output
    return list(ferkit.frames(out))


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize(("width", "height"), [(96, 64), (1280, 720)])
def test_the_copy_plays_with_the_same_colors(tmp_path: Path, suffix: str, width: int, height: int) -> None:
    for matrix in ("bt709", "bt601"):
        source = tagged(tmp_path / f"{matrix}.mp4", quarters(width, height), matrix, False)
        copy = annotated(source, tmp_path / f"copy{suffix}")
        assert len(copy) == 3
        for y, x in itertools.product((height // 4, 3 * height // 4), (width // 4, 3 * width // 4)):
            assert copy[0].pixels[y, x].astype(int) == pytest.approx(quarters(width, height)[y, x].astype(int), abs=8)
        with av.open(str(tmp_path / f"copy{suffix}")) as file:
            context = file.streams.video[0].codec_context
            assert (int(context.colorspace), int(context.color_range)) == (1 if height >= 720 else 6, 1)
            assert (int(context.color_primaries), int(context.color_trc)) == ((1, 1) if height >= 720 else (6, 6))


def test_the_copy_plays_with_the_same_shape(tmp_path: Path) -> None:
    for n, (ratio, way) in enumerate(itertools.product((Fraction(64, 45), Fraction(8, 9)), WAYS)):
        source = with_matrix(film(tmp_path / f"{n}.mp4", quarters(180, 144), ratio), *way)
        first = next(iter(ferkit.frames(source)))
        copy = annotated(source, tmp_path / f"copy{n}.mp4")
        assert copy[0].pixels.shape == first.pixels.shape
        assert corners(copy[0].pixels) == WAYS[way]
        with av.open(str(tmp_path / f"copy{n}.mp4")) as file:
            assert file.streams.video[0].sample_aspect_ratio == 1


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("last_s", [1 / 30, 5.0])
def test_the_copy_ends_with_the_same_last_frame(tmp_path: Path, suffix: str, last_s: float) -> None:
    source = tmp_path / "source.mp4"
    with av.open(str(source), "w") as file:
        stream = file.add_stream("libx264", rate=30, options={"tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        packets = [
            p for n in range(40) for p in stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 5 * n, np.uint8), format="rgb24"))
        ]
        packets += stream.encode(None)
        packets[-1].duration = round(last_s / packets[-1].time_base)
        for packet in packets:
            file.mux(packet)
    copy = annotated(source, tmp_path / f"copy{suffix}")
    assert [frame.time_s for frame in copy] == pytest.approx([n / 30 for n in range(40)], abs=1e-3)
    assert copy[-1].pixels.mean() == pytest.approx(5 * 39, abs=6)
    with av.open(str(tmp_path / f"copy{suffix}")) as file:
        assert file.duration / 1e6 == pytest.approx(39 / 30 + last_s, abs=0.01)
    if suffix != ".mkv":
        assert copy[-1].duration_s == pytest.approx(last_s, abs=0.01)
    sampled = annotated(source, tmp_path / f"sampled{suffix}", "--fps", "5")
    assert len(sampled) == 7
    with av.open(str(tmp_path / f"sampled{suffix}")) as file:
        assert file.duration / 1e6 == pytest.approx(7 / 5, abs=0.01)
