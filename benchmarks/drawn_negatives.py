"""Draw pictures that show nobody, for a face detector to learn from: pages of text, pebbles, dials and smooth cloth.

Photos of documents and of gravel were full of faces for ``ferkit-face-v3``, which had learnt from photos of people, animals and rooms.
The same seed draws the same pictures. Fonts are those that come with matplotlib.

    python benchmarks/drawn_negatives.py --out FOLDER

``face_head.py`` draws them itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]
Rng = np.random.Generator

FONTS = sorted((Path(matplotlib.get_data_path()) / "fonts" / "ttf").glob("*.ttf"))
READABLE = [
    path
    for path in FONTS
    if path.name.startswith(("DejaVu", "STIXGeneral", "cmr", "cmss", "cmtt", "cmb", "cmti")) and "Display" not in path.name
]
LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))
OFTEN = np.array(
    [8.2, 1.5, 2.8, 4.3, 12.7, 2.2, 2.0, 6.1, 7.0, 0.2, 0.8, 4.0, 2.4, 6.7, 7.5, 1.9, 0.1, 6.0, 6.3, 9.1, 2.8, 1.0, 2.4, 0.2, 2.0, 0.1]
)


def word(rng: Rng) -> str:
    text = "".join(rng.choice(LETTERS, rng.integers(1, 11), p=OFTEN / OFTEN.sum()))
    kind = rng.random()
    if kind < 0.08:
        return str(rng.integers(0, 10 ** int(rng.integers(1, 7))))
    if kind < 0.16:
        return text.upper()
    return (text.capitalize() if kind < 0.3 else text) + str(rng.choice(["", "", "", "", "", ",", ".", ":", "!", "?"]))


def colors(rng: Rng) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return a paper's color and the ink's: mostly dark on light."""
    paper, ink = rng.integers(150, 256), rng.integers(0, 110)
    if rng.random() < 0.25:
        paper, ink = rng.integers(0, 90), rng.integers(150, 256)
    tint = rng.normal(0, 12, 3)
    return tuple(np.clip(paper + tint, 0, 255).astype(int).tolist()), tuple(
        np.clip(ink + rng.normal(0, 12, 3), 0, 255).astype(int).tolist()
    )


def page(rng: Rng) -> Pixels:
    """Lines of words in one or two columns, as documents, signs and screens have them."""
    width, height = int(rng.integers(360, 720)), int(rng.integers(360, 720))
    paper, ink = colors(rng)
    picture = Image.new("RGB", (width, height), paper)
    draw = ImageDraw.Draw(picture)
    size = float(np.exp(rng.uniform(np.log(8), np.log(70))))
    columns = 2 if size < 20 and rng.random() < 0.4 else 1
    spacing = rng.uniform(1.0, 1.8)
    fonts = [ImageFont.truetype(str(rng.choice(READABLE)), max(6, round(s))) for s in (size, size, 1.6 * size)]
    for column in range(columns):
        left, right = (round(width * (column + edge) / columns + shift) for edge, shift in ((0, size), (1, -size)))
        y = rng.uniform(0, 2 * size)
        while y < height:
            font = fonts[int(rng.choice(3, p=[0.8, 0.12, 0.08]))]
            x, end = float(left), right - (rng.uniform(0, 0.6) * (right - left) if rng.random() < 0.2 else 0)
            while x < end:
                text = word(rng)
                draw.text((x, y), text, fill=ink, font=font)
                x += draw.textlength(text + " ", font=font)
            y += spacing * float(font.size) + (size if rng.random() < 0.12 else 0)
    if rng.random() < 0.3:  # a table's or a form's lines
        for at in np.arange(rng.uniform(0, 40), height, rng.uniform(20, 90)):
            draw.line((0, at, width, at), fill=ink, width=int(rng.integers(1, 3)))
    return np.asarray(picture)


def pebbles(rng: Rng) -> Pixels:
    """Round stones that lie on each other, each lit from the same side."""
    width, height = int(rng.integers(300, 560)), int(rng.integers(300, 560))
    picture = np.full((height, width), rng.uniform(20, 90), np.float32)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    middle = float(np.exp(rng.uniform(np.log(6), np.log(40))))
    light = rng.uniform(0, 2 * np.pi)
    for _ in range(min(2500, int(2.2 * width * height / middle**2))):
        radius = middle * float(np.exp(rng.normal(0, 0.35)))
        reach = int(1.6 * radius) + 2
        cx, cy = int(rng.integers(width)), int(rng.integers(height))
        place = np.s_[max(0, cy - reach) : cy + reach, max(0, cx - reach) : cx + reach]
        angle, flat = rng.uniform(0, np.pi), rng.uniform(0.6, 1.0)
        dx, dy = x[place] - cx, y[place] - cy
        u, v = dx * np.cos(angle) + dy * np.sin(angle), (dy * np.cos(angle) - dx * np.sin(angle)) / flat
        inside = u * u + v * v < radius * radius
        shade = (dx * np.cos(light) + dy * np.sin(light)) / radius
        picture[place][inside] = (rng.uniform(60, 210) + rng.uniform(10, 60) * shade)[inside]
    picture += rng.normal(0, rng.uniform(2, 14), picture.shape)
    return tinted(picture, rng)


def dial(rng: Rng) -> Pixels:
    """A clock, a gauge or a button: a disc with marks around and hands or signs in it."""
    side = int(rng.integers(240, 480))
    paper, ink = colors(rng)
    picture = Image.new("RGB", (side, side), tuple(rng.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(1, 4))):
        radius = side * rng.uniform(0.12, 0.48)
        cx, cy = rng.uniform(0.25, 0.75, 2) * side
        draw.ellipse(
            (cx - radius, cy - radius, cx + radius, cy + radius),
            fill=paper,
            outline=ink,
            width=int(rng.integers(1, 1 + max(2, radius // 10))),
        )
        marks = int(rng.choice([4, 8, 10, 12, 24, 60]))
        font = ImageFont.truetype(str(rng.choice(READABLE)), max(6, round(radius / 6)))
        written = rng.random() < 0.6
        for mark in range(marks):
            turn = 2 * np.pi * mark / marks
            way = np.array([np.sin(turn), -np.cos(turn)])
            if written and marks <= 12:
                draw.text(tuple(np.array([cx, cy]) + 0.8 * radius * way), str(mark or marks), fill=ink, font=font, anchor="mm")
            else:
                ends = [tuple(np.array([cx, cy]) + share * radius * way) for share in (0.85, 0.95)]
                draw.line([*ends[0], *ends[1]], fill=ink, width=max(1, round(radius / 40)))
        for _ in range(int(rng.integers(1, 4))):
            turn = rng.uniform(0, 2 * np.pi)
            tip = np.array([cx, cy]) + rng.uniform(0.4, 0.8) * radius * np.array([np.sin(turn), -np.cos(turn)])
            draw.line([cx, cy, *tip], fill=ink, width=max(1, round(radius / rng.uniform(12, 40))))
    return np.asarray(picture)


def cloth(rng: Rng) -> Pixels:
    """Smooth folds and clouds: noise whose power falls with frequency, at times woven."""
    width, height = int(rng.integers(300, 560)), int(rng.integers(300, 560))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(width), np.fft.fftfreq(height)))
    frequency[0, 0] = np.inf
    waves = np.fft.fft2(rng.normal(size=(height, width))) / frequency ** rng.uniform(1.2, 2.2)
    picture = np.fft.ifft2(waves).real
    picture = rng.uniform(60, 190) + rng.uniform(15, 60) * picture / picture.std()
    if rng.random() < 0.4:
        y, x = np.mgrid[:height, :width]
        step = rng.uniform(3, 20)
        picture += rng.uniform(5, 30) * np.sin(2 * np.pi * x / step) * np.sin(2 * np.pi * y / step)
    return tinted(picture, rng)


def tinted(grey: NDArray[np.floating], rng: Rng) -> Pixels:
    tint = 1 + (rng.normal(0, 0.12, 3) if rng.random() < 0.7 else np.zeros(3))
    return np.clip(grey[:, :, None] * tint, 0, 255).astype(np.uint8)


def photographed(picture: Pixels, rng: Rng) -> Pixels:
    """As a camera might show it: from aside, unevenly lit, soft."""
    height, width = picture.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    if rng.random() < 0.5:
        moved = corners + rng.normal(0, 0.06, (4, 2)).astype(np.float32) * [width, height]
        picture = cv2.warpPerspective(
            picture, cv2.getPerspectiveTransform(corners, moved.astype(np.float32)), (width, height), borderMode=cv2.BORDER_REFLECT
        )
    if rng.random() < 0.5:
        y, x = np.mgrid[:height, :width]
        turn = rng.uniform(0, 2 * np.pi)
        light = 1 + rng.uniform(0, 0.5) * (np.cos(turn) * (x / width - 0.5) + np.sin(turn) * (y / height - 0.5))
        picture = np.clip(picture * light[:, :, None], 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        picture = cv2.GaussianBlur(picture, (0, 0), float(np.exp(rng.uniform(np.log(0.4), np.log(3)))))
    return picture


KINDS: dict[str, Callable[[Rng], Pixels]] = {"page": page, "pebbles": pebbles, "dial": dial, "cloth": cloth}


def drawn(kind: str, number: int, seed: int = 1) -> Pixels:
    """Return a picture of a kind, RGB uint8: the same for the same numbers."""
    rng = np.random.default_rng([seed, number, *kind.encode()])
    return photographed(KINDS[kind](rng), rng)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, help="folder for the pictures")
    parser.add_argument("--each", type=int, default=200, help="pictures of each kind")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        for number in range(args.each):
            Image.fromarray(drawn(kind, number, args.seed)).save(args.out / f"drawn_{kind}_{number:04}.png")


if __name__ == "__main__":
    main()
