"""Frames and their times, from files, addresses and cameras."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import cv2
import numpy as np
import pytest

import ferkit
from ferkit import FerkitError, ImageError, ImageNotFoundError, InputError, MissingExtraError
from ferkit.video.frame import Span
from tests.helpers import films
from tests.helpers.cameras import Camera

av = pytest.importorskip("av", reason='needs the video extra: pip install "ferkit[video]"')


def until_error(source: object, **options: object) -> tuple[list[ferkit.video.Frame], str]:
    """Return the frames that came and the message that ended them."""
    got: list[ferkit.video.Frame] = []
    stream = ferkit.frames(source, **options)  # type: ignore[arg-type]
    try:
        for frame in stream:
            got.append(frame)
    except FerkitError as error:
        return got, str(error)
    raise AssertionError("no error came")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_times_are_the_containers(tmp_path: Path, suffix: str) -> None:
    """A variable frame rate that starts late: index / fps would be wrong by seconds."""
    times = np.cumsum(np.random.default_rng(1).uniform(0.01, 0.3, 60)) + 0.7
    path = tmp_path / f"variable{suffix}"
    films.write(path, films.plain(60), times)
    got = list(ferkit.frames(path))
    assert [frame.index for frame in got] == list(range(60))
    assert np.abs(np.array([frame.time_s for frame in got]) - times).max() <= 1e-3
    assert all(frame.pixels.shape == (120, 160, 3) and frame.pixels.dtype == np.uint8 for frame in got)
    assert got[0].pixels[5, 5, 0] > 150 > got[0].pixels[5, 5, 2]  # RGB


def test_avi_without_a_clock(tmp_path: Path) -> None:
    path = tmp_path / "old.avi"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for pixels in films.plain(20):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(stream.encode(None))
    assert [round(frame.time_s, 3) for frame in ferkit.frames(path)] == [n / 25 for n in range(20)]


@pytest.mark.parametrize(("suffix", "codec"), [(".avi", "mpeg4"), (".mp4", "libx264"), (".mkv", "libx264")])
def test_tags_in_the_code_page_of_some_system(tmp_path: Path, suffix: str, codec: str) -> None:
    path = tmp_path / f"a{suffix}"
    with av.open(str(path), "w") as file:
        file.metadata["title"] = "Caf+ au lait"
        stream = file.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for pixels in films.plain(5):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(stream.encode(None))
    data = path.read_bytes()
    assert b"Caf+ au" in data
    path.write_bytes(data.replace(b"Caf+ au", b"Caf\xe9 au"))
    assert len(list(ferkit.frames(path))) == 5


def test_a_file_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pictures are found: nobody's shell stands before a call in Python."""
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    films.write(tmp_path / "a.mp4", films.plain(3))
    assert len(list(ferkit.frames("~/a.mp4"))) == 3
    assert len(list(ferkit.frames("~/a.mp4", start=0.04))) == 2


def test_a_file_that_may_not_be_read_is_told_by_who_reads_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """root may read everything, so the permission itself cannot be taken away here."""

    def refuse(name: str, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", name)

    films.write(tmp_path / "a.mp4", films.plain(3))
    monkeypatch.setattr("ferkit.video.animation.open", refuse, raising=False)
    monkeypatch.setattr(av, "open", refuse)
    assert until_error(tmp_path / "a.mp4") == ([], f"{tmp_path / 'a.mp4'} cannot be read: Permission denied.")


def test_rotation(tmp_path: Path) -> None:
    films.write(tmp_path / "a.mp4", films.plain(3))
    frame = next(ferkit.frames(films.rotated(tmp_path / "a.mp4", tmp_path / "b.mp4")))
    assert frame.pixels.shape == (160, 120, 3)
    assert frame.pixels[5, -5, 0] > 150  # the block of the top left corner is now in the top right one
    assert frame.pixels[5, 5, 0] < 100


def test_sampling_by_time(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    films.write(path, films.plain(100), options={"g": "12", "bf": "2"})
    every = list(ferkit.frames(path))
    assert [f.index for f in ferkit.frames(path, fps=5)] == list(range(0, 100, 5))
    assert [f.time_s for f in ferkit.frames(path, every=1.0)] == [0.0, 1.0, 2.0, 3.0]
    part = list(ferkit.frames(path, start=1.2, end=2.0))
    assert [f.index for f in part] == list(range(30, 50))
    assert all((f.pixels == every[f.index].pixels).all() for f in part)
    assert next(f.index for f in ferkit.frames(path, start=1.21, fps=10)) == 31
    assert len(list(ferkit.frames(path, fps=1000))) == 100
    irregular = tmp_path / "b.mp4"
    times = films.write(irregular, films.plain(50), np.cumsum(np.random.default_rng(2).uniform(0.01, 0.4, 50)), options={"g": "7"})
    for start in (0.0, 1.0, 4.0, times[30]):
        first = next(ferkit.frames(irregular, start=start))
        assert first.index == next(n for n, t in enumerate(times) if t >= start - 1e-4)
    assert len(list(ferkit.frames(path, fps=5, start=1, end=3))) == 10


@pytest.mark.parametrize("start", [None, 0.0])
def test_a_clock_that_is_set_back_is_sampled_on(start: float | None) -> None:
    """A network camera's may be, by hours: it gave no frame until the old time came again."""
    sampler = Span.of(every=0.5, start=start).sampler()
    times = [*(40 + n / 10 for n in range(20)), *(2 + n / 10 for n in range(20))]
    assert [time_s for time_s in times if sampler.takes(time_s)] == pytest.approx([40, 40.5, 41, 41.5, 2, 2.5, 3, 3.5])
    sampler = Span.of(every=0.5, start=start).sampler()  # frames that come in another order are no new clock
    assert [time_s for time_s in (0, 0.4, 0.3, 0.5, 0.45, 1.1, 0.9) if sampler.takes(time_s)] == [0, 0.5, 1.1]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"fps": 0}, "fps=0"),
        ({"fps": 5, "every": 2}, "twice"),
        ({"every": -1}, "every=-1"),
        ({"start": -1}, "start=-1"),
        ({"start": 3, "end": 2}, "is not after"),
    ],
)
def test_arguments(tmp_path: Path, options: dict[str, float], text: str) -> None:
    with pytest.raises(InputError, match=text):
        ferkit.frames(tmp_path / "any.mp4", **options)
    with pytest.raises(InputError, match="is not a video"):
        ferkit.frames(3.5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="Camera -1"):
        ferkit.frames(-1)


def test_files_that_are_no_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageNotFoundError, match="does not exist"):
        ferkit.frames(tmp_path / "none.mp4")
    with pytest.raises(ImageError, match="is a folder"):
        ferkit.frames(tmp_path)
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(ImageError, match="0 bytes"):
        ferkit.frames(tmp_path / "empty.mp4")
    (tmp_path / "text.mp4").write_text("this is not a video\n" * 50)
    assert "not a video" in until_error(tmp_path / "text.mp4")[1]
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))
    assert "no pictures in this file (audio)" in until_error(tmp_path / "sound.wav")[1]
    films.write(tmp_path / "a.mp4", films.plain(3))
    (tmp_path / "codec.mp4").write_bytes((tmp_path / "a.mp4").read_bytes().replace(b"avc1", b"zzzz"))
    assert "no decoder" in until_error(tmp_path / "codec.mp4")[1]
    with pytest.raises(ImageNotFoundError, match="does not exist"):
        ferkit.frames("a" * 300)  # longer than any file system has names
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"ferkit\[video\]"):
        ferkit.frames(tmp_path / "a.mp4")


def test_zero_frames(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "none.mp4"), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        file.start_encoding()
    got, message = until_error(tmp_path / "none.mp4")
    assert got == []
    assert "no pictures in this file (no stream at all)" in message
    films.write(tmp_path / "a.mp4", films.plain(30), container={"movflags": "faststart"})
    data = (tmp_path / "a.mp4").read_bytes()
    start = data.find(b"mdat") + 4
    (tmp_path / "noise.mp4").write_bytes(data[:start] + b"\xff" * (len(data) - start))
    got, message = until_error(tmp_path / "noise.mp4")
    assert got == []
    assert "no frames could be decoded" in message


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_truncated(tmp_path: Path, suffix: str) -> None:
    films.write(tmp_path / f"a{suffix}", films.plain(200), options={"bf": "0"}, container={"movflags": "faststart"})
    data = (tmp_path / f"a{suffix}").read_bytes()
    (tmp_path / f"cut{suffix}").write_bytes(data[: len(data) * 6 // 10])
    got, message = until_error(tmp_path / f"cut{suffix}")
    assert 20 < len(got) < 200
    assert "truncated" in message or "broke off" in message
    # Sampled, or only a part that is there: the same frames, and no complaint about what was not asked for.
    assert [f.index for f in ferkit.frames(tmp_path / f"cut{suffix}", end=0.4)] == list(range(10))


def test_cut_before_the_table_of_contents(tmp_path: Path) -> None:
    films.write(tmp_path / "a.mp4", films.plain(100))
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    assert "table of contents" in until_error(tmp_path / "cut.mp4")[1]


def test_damaged_in_the_middle(tmp_path: Path) -> None:
    films.write(tmp_path / "a.mp4", films.plain(100), options={"g": "5", "bf": "0"})
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    start = data.find(b"mdat") + len(data) // 4
    data[start : start + 200] = b"\xff" * 200
    (tmp_path / "bad.mp4").write_bytes(data)
    got, message = until_error(tmp_path / "bad.mp4")
    assert len(got) > 50
    assert "damaged" in message or "broke off" in message


def test_resolution_changes(tmp_path: Path) -> None:
    """Pictures of another size in mid-stream: JPEGs one after the other."""
    path = tmp_path / "sizes.mjpeg"
    jpegs = [cv2.imencode(".jpg", p)[1].tobytes() for p in films.plain(5) + films.plain(5, 320, 240)]
    path.write_bytes(b"".join(jpegs))
    got = list(ferkit.frames(path))
    assert [frame.pixels.shape[:2] for frame in got] == [(120, 160)] * 5 + [(240, 320)] * 5
    assert [round(frame.time_s * 25) for frame in got] == list(range(10))


def test_camera_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    got, message = until_error(0)
    assert len(got) == 7
    assert "camera 0 stopped answering after 7 frames" in message
    assert got[0].pixels[0, 0].tolist() == [0, 0, 200]  # OpenCV's blue is RGB's last
    assert [f.time_s for f in got] == sorted(f.time_s for f in got)
    monkeypatch.setattr(Camera, "opened", False)
    assert "cannot be opened" in until_error(1)[1]


@pytest.fixture
def broken_server(tmp_path: Path) -> Iterator[str]:
    """Promises a whole file over HTTP and hangs up after two thirds."""
    films.write(tmp_path / "a.mkv", films.plain(300), options={"bf": "0"})
    data = (tmp_path / "a.mkv").read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Range", "bytes=0-") != "bytes=0-":
                self.send_error(416)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) * 2 // 3])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/live.mkv"
    server.shutdown()
    thread.join()
    server.server_close()


def test_address_that_goes_away(broken_server: str) -> None:
    got, message = until_error(broken_server)
    assert len(got) > 20
    assert "broke off" in message or "ended" in message
    assert "does not answer" in until_error("http://127.0.0.1:9/none.mp4")[1]
