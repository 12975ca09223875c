"""PyAV and OpenCV on the same files: times, rotation, truncation, speed.

python benchmarks/video_decode.py --out benchmarks/results/video_decode.json
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from _record import record

CLOCK = 60000


def write(path: Path, times: np.ndarray, faststart: bool = False) -> Path:
    from fractions import Fraction

    with av.open(str(path), "w", options={"movflags": "faststart"} if faststart else {}) as file:
        stream = file.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        stream.codec_context.time_base = Fraction(1, CLOCK)
        ground = np.asarray(cv2.resize(np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8), (640, 480)))
        for number, time_s in enumerate(times):
            picture = av.VideoFrame.from_ndarray(np.roll(ground, number, axis=1), format="rgb24")
            picture.pts, picture.time_base = round(time_s * CLOCK), Fraction(1, CLOCK)
            file.mux(stream.encode(picture))
        file.mux(stream.encode(None))
    return path


def with_av(path: Path) -> tuple[list[float], str]:
    import ferkit

    times: list[float] = []
    try:
        for frame in ferkit.frames(path):
            times.append(frame.time_s)
    except ferkit.FerkitError as error:
        return times, str(error).split(": ", 1)[1]
    return times, ""


def with_cv(path: Path) -> tuple[list[float], str]:
    video, times = cv2.VideoCapture(str(path)), []
    while True:
        read, picture = video.read()
        if not read:
            return times, ""
        times.append(video.get(cv2.CAP_PROP_POS_MSEC) / 1e3)
        cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out")
    args = parser.parse_args()
    variable = np.cumsum(np.random.default_rng(1).uniform(0.01, 0.2, 200)) + 0.5
    steady = np.arange(500) / 25
    readers: dict[str, Callable[[Path], tuple[list[float], str]]] = {"pyav": with_av, "opencv": with_cv}
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        late = write(Path(folder) / "variable.mp4", variable)
        whole = write(Path(folder) / "steady.mp4", steady, faststart=True)
        cut = Path(folder) / "cut.mp4"
        cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
        for name, reader in readers.items():
            times, _ = reader(late)
            worst = float(np.abs(np.array(times) - variable[: len(times)]).max())
            frames, message = reader(cut)
            begun = time.perf_counter()
            count = len(reader(whole)[0])
            figures[name] = {
                "variable_rate_late_start": {"frames": len(times), "worst_time_error_ms": round(worst * 1e3, 3)},
                "truncated": {"frames": len(frames), "message": message},
                "frames_per_second": round(count / (time.perf_counter() - begun), 1),
            }
    record(args.out, {"figures": figures})


if __name__ == "__main__":
    main()
