"""Faces and tables of labels that the tests draw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def patterns() -> np.ndarray:
    """Grey 48x48 patterns, uint8 (24, 48, 48): smooth blobs, so that resampling and engines see ordinary input."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[0:48, 0:48] / 48
    out = []
    for _ in range(24):
        cx, cy, s, a, b = rng.random(5)
        blob = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (0.02 + 0.2 * s)) + 0.5 * np.sin(6 * (a * x + b * y))
        out.append(np.interp(blob, (blob.min(), blob.max()), (10, 245)))
    return np.array(out).astype(np.uint8)


def write_fer_csv(path: Path, training: int = 24, public: int = 12, seed: int = 0) -> Path:
    """Write a small fer2013.csv whose labels can be learnt from the brightness."""
    rng = np.random.default_rng(seed)
    with path.open("w") as f:
        f.write("emotion,pixels,Usage\n")
        for usage, count in (("Training", training), ("PublicTest", public)):
            for i in range(count):
                label = i % 7
                face = np.clip(rng.normal(30 + 32 * label, 10, (48, 48)), 0, 255).astype(int)
                f.write(f"{label},{' '.join(map(str, face.ravel()))},{usage}\n")
    return path


def write_votes_csv(path: Path, training: int = 24, public: int = 12) -> Path:
    """Write FER+ votes for the faces of ``write_fer_csv``: eight for one label, two for the next."""
    lines = ["Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"]
    for usage, count in (("Training", training), ("PublicTest", public)):
        for i in range(count):
            votes = ["8" if k == i % 8 else "2" if k == (i + 1) % 8 else "0" for k in range(10)]
            lines.append(f"{usage},f{i}.png,{','.join(votes)}")
    path.write_text("\n".join(lines) + "\n")
    return path


def picture(kind: int, number: int) -> np.ndarray:
    """Draw a 48x48 face whose kind can be learnt: where a bar lies; the rest is the number's own pattern."""
    rng = np.random.default_rng((kind, number))
    coarse = Image.fromarray(rng.integers(60, 196, (12, 12), dtype=np.uint8))
    out = np.array(coarse.resize((48, 48), Image.Resampling.BICUBIC))
    out[6 + 13 * kind : 14 + 13 * kind, 6:42] = 250
    return out


def write_faces(root: Path, labels: tuple[str, ...], count: int, start: int = 0) -> Path:
    for kind, label in enumerate(labels):
        (root / label).mkdir(parents=True, exist_ok=True)
        for number in range(start, start + count):
            Image.fromarray(picture(kind, number)).save(root / label / f"{number}.png")
    return root
