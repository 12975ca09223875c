"""A reading from --start T equals the full reading's rows from T on, whatever the container."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import ferkit
from ferkit.cli import main

from . import _films as films

av = pytest.importorskip("av", reason='needs the video extra: pip install "ferkit[video]"')

B_FRAMES = {"g": "25", "bf": "2"}
CONTAINERS = [
    ("a.mp4", "libx264", B_FRAMES),
    ("open_gop.mp4", "libx264", {**B_FRAMES, "x264-params": "open-gop=1"}),
    ("refresh.mkv", "libx264", {"g": "25", "x264-params": "intra-refresh=1:bframes=0"}),
    ("a.mov", "mpeg4", {"g": "12", "bf": "2"}),
    ("a.mkv", "libx264", B_FRAMES),
    ("hevc.mkv", "libx265", {"x265-params": "keyint=25:log-level=none"}),
    ("vp8.webm", "libvpx", {"g": "25", "auto-alt-ref": "1", "lag-in-frames": "16"}),
    ("vp9.webm", "libvpx-vp9", {"g": "25", "auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "8"}),
    ("a.avi", "mpeg4", {"g": "25", "bf": "2"}),
    ("h264.avi", "libx264", B_FRAMES),
    ("a.ts", "libx264", {"g": "70", "bf": "2"}),
    ("mpeg2.ts", "mpeg2video", {"g": "15", "bf": "2"}),
    ("a.m2ts", "libx264", B_FRAMES),
    ("a.vob", "mpeg2video", {"g": "15", "bf": "2"}),
    ("a.mpg", "mpeg1video", {"g": "15", "bf": "2"}),
    ("a.flv", "flv", {"g": "25"}),
    ("h264.flv", "libx264", B_FRAMES),
    ("a.ogv", "libvpx", {"g": "25"}),
    ("a.3gp", "libx264", B_FRAMES),
    ("a.wmv", "wmv2", {"g": "25"}),
    ("a.asf", "msmpeg4", {"g": "25"}),
    ("a.h264", "libx264", B_FRAMES),
    ("a.hevc", "libx265", {"x265-params": "keyint=25:log-level=none"}),
    ("a.mjpeg", "mjpeg", {}),
    ("a.gif", "gif", {}),
    ("a.apng", "apng", {}),
    ("a.webp", "pillow", {}),
    ("a.nut", "ffv1", {}),
    ("a.mxf", "mpeg2video", {"g": "15"}),
    ("a.ivf", "libvpx-vp9", {"g": "25", "cpu-used": "8"}),
]
COUNT = 80


def moving(count: int = COUNT) -> list[np.ndarray]:
    """A block that moves over a gradient: every frame differs from the others, and has what to predict."""
    slope = np.tile(np.linspace(30, 160, 64).astype(np.uint8)[None, :, None], (48, 1, 3))
    out = []
    for n in range(count):
        pixels = slope.copy()
        pixels[10:26, n % 48 : n % 48 + 16] = (200, 30 + 2 * n, 40)
        out.append(pixels)
    return out


def make(path: Path, codec: str, options: dict[str, str], pictures: list[np.ndarray] | None = None) -> Path:
    """Write 80 pictures at 25 a second; an MP4 with its table of contents first."""
    pictures = pictures or moving()
    if codec == "pillow":
        first, *rest = [Image.fromarray(p) for p in pictures]
        first.save(path, save_all=True, append_images=rest, duration=40, lossless=True)
        return path
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    form = {".ogv": "ogg", ".m2ts": "mpegts"}.get(path.suffix)
    first = {"movflags": "faststart"} if path.suffix in (".mp4", ".mov", ".3gp") else {}
    with av.open(str(path), "w", format=form, options=first) as file:
        stream = file.add_stream(codec, rate=25, options=options)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = {"gif": "rgb8", "apng": "rgb24", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        for pixels in pictures:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("name", "codec", "options"), CONTAINERS, ids=[name for name, *_ in CONTAINERS])
def test_start(tmp_path: Path, name: str, codec: str, options: dict[str, str]) -> None:
    path = make(tmp_path / name, codec, options)
    full = list(ferkit.frames(path))
    assert [frame.index for frame in full] == list(range(COUNT))
    times = [frame.time_s for frame in full]
    assert np.diff(times) == pytest.approx(1 / 25, abs=2e-3)
    for start in (0, times[0], times[30] - 0.013, times[50], times[50] + 1e-4, times[-1], times[-1] + 60):
        want = [frame for frame in full if frame.time_s >= start - 5e-4]
        got = list(ferkit.frames(path, start=start))
        assert got == want, f"from {start} s"
        assert all((a.pixels == b.pixels).all() for a, b in zip(got, want, strict=True)), f"from {start} s"
    part = list(ferkit.frames(path, start=times[20], end=times[60]))
    assert part == full[20:60]


def test_start_where_an_edit_list_cuts(tmp_path: Path) -> None:
    """An MP4 that was cut without encoding it anew: its first frames are decoded and not shown."""
    path = make(tmp_path / "whole.mp4", "libx264", {"g": "25", "bf": "0"})
    with av.open(str(path)) as source, av.open(str(tmp_path / "cut.mp4"), "w") as target:
        read = source.streams.video[0]
        written = target.add_stream_from_template(read)
        for packet in source.demux(read):
            if packet.dts is None:
                continue
            shift = int(0.4 / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, written
            target.mux(packet)
    full = list(ferkit.frames(tmp_path / "cut.mp4"))
    assert len(full) in (COUNT - 10, COUNT)
    for start in (full[0].time_s, 0.6, 1.3, 2.0):
        got = list(ferkit.frames(tmp_path / "cut.mp4", start=start))
        assert got == [frame for frame in full if frame.time_s >= start - 5e-4]


def test_start_with_variable_rate_and_a_late_first_frame(tmp_path: Path) -> None:
    times = np.cumsum(np.random.default_rng(5).uniform(0.01, 0.3, COUNT)) + 0.7
    for name in ("a.mp4", "a.mkv"):
        path = tmp_path / name
        films.write(path, moving(), times, options=B_FRAMES)
        full = list(ferkit.frames(path))
        assert np.abs(np.array([frame.time_s for frame in full]) - times).max() < 1e-3
        for start in (0.1, 1.0, times[40], times[77]):
            assert list(ferkit.frames(path, start=start)) == [frame for frame in full if frame.time_s >= start - 5e-4]


@pytest.mark.parametrize("name", ["a.ts", "mpeg2.ts", "a.m2ts", "a.vob"])
def test_joined_recordings_go_on(tmp_path: Path, name: str) -> None:
    """The clock begins anew in the middle; the times go on, and so does a sampling by time."""
    codec, options = next((codec, options) for other, codec, options in CONTAINERS if other == name)
    path = make(tmp_path / name, codec, options)
    one = [frame.time_s for frame in ferkit.frames(path)]
    path.write_bytes(path.read_bytes() * 3)
    full = list(ferkit.frames(path))
    times = [frame.time_s for frame in full]
    assert len(full) == 3 * COUNT
    assert times[:COUNT] == one
    assert np.diff(times) == pytest.approx(1 / 25, abs=2e-3)
    assert len(list(ferkit.frames(path, fps=5))) == 3 * COUNT / 5
    assert list(ferkit.frames(path, start=times[130])) == full[130:]


@pytest.mark.parametrize("name", ["a.ts", "a.h264", "a.vob", "h264.avi", "a.mkv"])
def test_rows_of_the_command(tmp_path: Path, name: str) -> None:
    codec, options = next((codec, options) for other, codec, options in CONTAINERS if other == name)
    path = make(tmp_path / name, codec, options)

    def rows(*more: str) -> list[dict[str, object]]:
        done = CliRunner().invoke(main, ["video", str(path), "--detector", "none", "--smooth", "0", *more])
        assert done.exit_code == 0, done.output
        return [json.loads(line) for line in done.stdout.splitlines()]

    full = rows()
    start = str(full[33]["time_s"])
    assert [(row["frame"], row["time_s"], row["label"]) for row in rows("--start", start)] == [
        (row["frame"], row["time_s"], row["label"]) for row in full[33:]
    ]


def test_raw_streams_have_the_rate_that_they_were_made_with(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.h264"), "w", format="h264") as file:
        stream = file.add_stream("libx264", rate=50)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for pixels in moving(60):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(stream.encode(None))
    assert [frame.time_s for frame in ferkit.frames(tmp_path / "a.h264", start=1)] == pytest.approx([n / 50 for n in range(50, 60)])
