"""Whole files end without an error, broken copies with one: no alarm where FFmpeg gives none, and none left out."""

from __future__ import annotations

import base64
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ferkit
from ferkit import FerkitError
from tests.helpers import films
from tests.helpers.containers import CONTAINERS, make
from tests.helpers.theora import THEORA

pytest.importorskip("av", reason='needs the video extra: pip install "ferkit[video]"')

import av

from ferkit.video.extent import missing_bytes


def write(
    path: Path, *, sound_s: float = 0.0, last_s: float = 0.0, codec: str = "libx264", sound: str = "aac", faststart: bool = True
) -> Path:
    """Two seconds of pictures, with sound of another length, or a last picture that stays."""
    options = {"movflags": "faststart"} if faststart and path.suffix in (".mp4", ".mov", ".3gp") else {}
    with av.open(str(path), "w", options=options) as file:
        video = file.add_stream(codec, rate=30, options={"tune": "zerolatency"} if codec == "libx264" else {})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = file.add_stream(sound, rate=48000) if sound_s else None
        packets = []
        for pixels in films.plain(60, 64, 48):
            packets += video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24"))
        packets += video.encode(None)
        if last_s:
            packets[-1].duration = int(last_s / packets[-1].time_base)
        heard = []
        if audio is not None:
            size, kind, layout = audio.codec_context.frame_size or 1024, audio.codec_context.format, audio.codec_context.layout
            for n in range(int(sound_s * 48000 / size)):
                shape = (layout.nb_channels, size) if kind.is_planar else (1, size * layout.nb_channels)
                silence = np.zeros(shape, {"flt": np.float32, "s16": np.int16, "s32": np.int32}[kind.name[:3]])
                frame = av.AudioFrame.from_ndarray(silence, format=kind.name, layout=layout.name)
                frame.sample_rate, frame.pts = 48000, n * size
                heard += audio.encode(frame)
            heard += audio.encode(None)
        for packet in sorted([*packets, *heard], key=lambda p: float((p.dts or 0) * p.time_base)):
            file.mux(packet)
    return path


SOUNDS = [
    ("a.mp4", "libx264", "aac"),
    ("a.mov", "mpeg4", "aac"),
    ("a.mkv", "libx264", "aac"),
    ("a.avi", "mpeg4", "mp2"),
    ("a.ts", "libx264", "aac"),
    ("a.flv", "libx264", "aac"),
    ("a.wmv", "wmv2", "libmp3lame"),
    ("a.webm", "libvpx", "libopus"),
]


@pytest.mark.parametrize(("name", "codec", "sound"), SOUNDS, ids=[name for name, *_ in SOUNDS])
@pytest.mark.parametrize("sound_s", [1.0, 2.0, 6.0])
def test_sound_of_another_length(tmp_path: Path, name: str, codec: str, sound: str, sound_s: float) -> None:
    path = write(tmp_path / name, sound_s=sound_s, codec=codec, sound=sound)
    assert len(list(ferkit.frames(path))) == 60
    assert len(list(ferkit.frames(path, start=1.0))) <= 60


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mov", "mpeg4"), ("a.mkv", "libx264"), ("a.webm", "libvpx-vp9"), ("a.nut", "ffv1")]
)
@pytest.mark.parametrize("last_s", [1.5, 5.0, 60.0])
def test_the_last_picture_stays(tmp_path: Path, name: str, codec: str, last_s: float) -> None:
    got = list(ferkit.frames(write(tmp_path / name, last_s=last_s, codec=codec)))
    assert len(got) == 60
    if name == "a.mp4":
        assert got[-1].duration_s == pytest.approx(last_s, abs=0.01)
        assert got[0].duration_s == pytest.approx(1 / 30, abs=1e-3)


@pytest.mark.parametrize(("suffix", "options"), [(".webp", {"lossless": True}), (".gif", {}), (".png", {})])
def test_animations(tmp_path: Path, suffix: str, options: dict[str, object]) -> None:
    """Pictures of different durations, the last one long."""
    path, durations = tmp_path / f"a{suffix}", [100, 40, 300, 70, 3000]
    first, *rest = [Image.fromarray(p) for p in films.plain(5)]
    first.save(path, save_all=True, append_images=rest, duration=durations, **options)
    got = list(ferkit.frames(path))
    assert [frame.time_s for frame in got] == pytest.approx([0, 0.1, 0.14, 0.44, 0.51], abs=1e-3)
    assert got[0].pixels[5, 5].astype(int) == pytest.approx([220, 20, 20], abs=12)
    assert [frame.index for frame in ferkit.frames(path, start=0.2)] == [3, 4]


def test_an_animations_transparent_parts_are_white_as_a_pictures_are(tmp_path: Path) -> None:
    path, clear = tmp_path / "a.webp", [Image.new("RGBA", (32, 24), (0, 0, 0, 0)) for _ in range(2)]
    clear[1].putpixel((0, 0), (255, 0, 0, 255))
    clear[0].save(path, save_all=True, append_images=clear[1:], duration=100, lossless=True)
    for frame in ferkit.frames(path):
        assert (frame.pixels[12:] == 255).all()
        assert (frame.pixels[12:] == ferkit.load_image(path)[12:]).all()


def test_an_animation_of_enormous_pictures_is_refused_by_our_own_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is decoded. Pillow's own limits are others: it warned of fewer pixels than pictures may have, and called more damaged."""
    path = tmp_path / "a.webp"
    Image.new("RGB", (16, 200)).save(path, save_all=True, append_images=[Image.new("RGB", (16, 200), "red")], duration=100)
    # Of more it warns, and the tests take warnings for errors. The bands that are copied have 16x128 pixels, and Pillow 10 looks at them too.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 16 * 150)
    assert len(list(ferkit.frames(path))) == 2
    data = bytearray(path.read_bytes())
    assert data[12:16] == b"VP8X"
    data[24:30] = (10_000).to_bytes(3, "little") * 2  # one less than the sides
    path.write_bytes(data)
    with pytest.raises(ferkit.ImageError, match="10001x10001 pixels are more than 100,000,000"):
        next(ferkit.frames(path))


def test_one_picture_is_a_video_of_one_frame(tmp_path: Path) -> None:
    Image.fromarray(films.plain(1)[0]).save(tmp_path / "a.webp")
    assert [frame.time_s for frame in ferkit.frames(tmp_path / "a.webp")] == [0.0]


def test_empty_packets_say_the_same_again(tmp_path: Path) -> None:
    path = tmp_path / "a.ogv"
    path.write_bytes(zlib.decompress(base64.b85decode(THEORA)))
    got = list(ferkit.frames(path))
    assert [frame.index for frame in got] == list(range(len(got)))
    assert [frame.time_s for frame in got] == pytest.approx([n / 30 for n in range(25)])
    assert all((frame.pixels == got[0].pixels).all() for frame in got)
    assert list(ferkit.frames(path, start=0.5)) == [frame for frame in got if frame.time_s >= 0.5]


def test_holes_in_an_avi(tmp_path: Path) -> None:
    """AVI has one chunk per tick: where a time is left out there is an empty one, which FFmpeg leaves out."""
    times = [0, 1, 2, 5, 6, 10, 11, 12]
    films.write(tmp_path / "a.avi", films.plain(8), [n / 25 for n in times], codec="mpeg4")
    got = list(ferkit.frames(tmp_path / "a.avi"))
    assert [round(frame.time_s * 25) for frame in got] == times


@pytest.mark.parametrize(("size", "lacking"), [(1000.0, 900), (float("nan"), 0), (float("inf"), 0), (0.0, 0)])
def test_what_a_flash_video_says_of_its_size(tmp_path: Path, size: float, lacking: int) -> None:
    """Recorders of live streams do not know it, and write whatever they please."""
    head = b"FLV\x01" + b"\x00" * 20 + b"filesize\x00" + struct.pack(">d", size)
    (tmp_path / "a.flv").write_bytes(head.ljust(100, b"\x00"))
    assert missing_bytes(str(tmp_path / "a.flv")) == lacking


def noise() -> list[np.ndarray]:
    """Pictures that fill the file, so that any part that is missing holds some."""
    return list(np.random.default_rng(7).integers(0, 255, (80, 48, 64, 3), np.uint8))


WHOLE = [name for name, codec, _ in CONTAINERS]


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "vp9.webm", "a.avi", "h264.flv", "a.wmv", "a.3gp", "a.webp"])
@pytest.mark.parametrize("part", [0.4, 0.7, 0.95])
def test_broken_copies_are_told(tmp_path: Path, name: str, part: float) -> None:
    codec, options = next((codec, options) for other, codec, options in CONTAINERS if other == name)
    path = make(tmp_path / name, codec, options, noise())
    data = path.read_bytes()
    assert missing_bytes(str(path)) == 0
    path.write_bytes(data[: int(len(data) * part)])
    assert missing_bytes(str(path)) > 0
    got = 0
    with pytest.raises(FerkitError, match=r"truncated|broke off|damaged|table of contents|no frames"):
        _ = [got := frame.index + 1 for frame in ferkit.frames(path)]
    assert got < 80


def test_a_file_written_by_a_live_recorder_announces_nothing(tmp_path: Path) -> None:
    """Matroska of unknown size, as a pipe gets it."""
    with (tmp_path / "a.mkv").open("wb") as pipe:

        class Pipe:
            def write(self, data: bytes) -> int:
                return pipe.write(data)

        with av.open(Pipe(), "w", format="matroska") as file:
            stream = file.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for pixels in films.plain(50, 64, 48):
                file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            file.mux(stream.encode(None))
    assert missing_bytes(str(tmp_path / "a.mkv")) == 0
    assert len(list(ferkit.frames(tmp_path / "a.mkv"))) == 50


def test_fragments(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    films.write(path, films.plain(60), options={"g": "10", "bf": "0"}, container={"movflags": "frag_keyframe+empty_moov"})
    full = list(ferkit.frames(path))
    assert len(full) == 60
    assert list(ferkit.frames(path, start=1.3)) == full[33:]
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(FerkitError, match="truncated"):
        list(ferkit.frames(path))


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program ffmpeg")
@pytest.mark.parametrize("name", WHOLE)
def test_ffmpeg_agrees_that_it_is_whole(tmp_path: Path, name: str) -> None:
    codec, options = next((codec, options) for other, codec, options in CONTAINERS if other == name)
    path = make(tmp_path / name, codec, options)
    said = subprocess.run(["ffmpeg", "-v", "error", "-i", str(path), "-f", "null", "-"], capture_output=True, text=True, check=False)
    if said.returncode == 0 and not said.stderr:
        assert len(list(ferkit.frames(path))) == 80
