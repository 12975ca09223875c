"""A film of three people for the tests of the service: portraits that move over a background."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from tests.helpers.serving import astronaut


def film_of_three(path: Path, seconds: float = 60.0, rate: int = 10, size: tuple[int, int] = (640, 360)) -> Path:
    """Write an MP4 of three portraits, each moving on a path of its own."""
    import av

    width, height = size
    one = Image.open(astronaut()).crop((70, 10, 250, 220))
    people = [np.asarray(person.resize((120, 140))) for person in (one, ImageOps.mirror(one), ImageOps.autocontrast(one, 8))]
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for n in range(round(seconds * rate)):
            pixels = np.full((height, width, 3), (70, 90, 110), np.uint8)
            for k, person in enumerate(people):
                x = round(40 + 205 * k + 25 * np.sin(n / rate / 3 + k))
                y = round(100 + 40 * np.sin(n / rate / 2 + 2 * k))
                pixels[y : y + 140, x : x + 120] = person
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(stream.encode(None))
    return path
