"""A stranger's data set, drawn around one portrait: photos in color, labels and persons of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

LABELS, PEOPLE = ("awake", "sleepy", "grumpy"), 10


def photo_of(label: int, person: int, number: int, portrait: np.ndarray) -> Image.Image:
    """Return a color photo of 900x600 with one face: a person is a tint and a size, a label a dark bar; each photo has its own light, so that
    no two faces are near copies of each other, though one portrait is behind them all."""
    rng = np.random.default_rng((label, person, number))
    side = 300 + 12 * person
    face = np.asarray(Image.fromarray(portrait).resize((side, side))).astype(float)
    top = side // 8 + label * side // 9
    face[top : top + side // 12, side // 4 : side * 5 // 8] *= 0.25
    light = Image.fromarray(rng.uniform(0.35, 1.25, (9, 9)).astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
    face *= np.asarray(light)[..., None] * (1 + 0.04 * np.random.default_rng(person).normal(size=3))
    y, x = np.mgrid[0:600, 0:900]
    picture = np.stack([90 + 60 * np.sin(x / (90 + 40 * k) + person) + 0.1 * y for k in range(3)], axis=2)
    picture += rng.normal(0, 3, picture.shape)
    left, above = rng.integers(40, 860 - side), rng.integers(20, 580 - side)
    picture[above : above + side, left : left + side] = face
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))


def write_data(folder: Path, portrait: np.ndarray) -> None:
    """Write 60 photos of ten persons with a manifest, and six photos of an eleventh in a folder per label."""
    rows = ["path,label,person"]
    (folder / "img").mkdir(parents=True)
    for number in range(60):
        label, person = number % 3, number // 6
        photo_of(label, person, number, portrait).save(folder / "img" / f"{number}.jpg", quality=90)
        rows.append(f"img/{number}.jpg,{LABELS[label]},person {person}")
    (folder / "faces.csv").write_text("\n".join(rows) + "\n")
    for number in range(6):
        path = folder / "new_photos" / LABELS[number % 3] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo_of(number % 3, PEOPLE, number, portrait).save(path, quality=90)
    photo_of(0, PEOPLE, 99, portrait).save(folder / "photo.jpg", quality=90)
