"""Train the smallest network by a recipe of one's own, then predict with it. Needs ``pip install "ferkit[train]"``.

    python examples/train_tiny.py                                        # on drawn faces, made on the spot
    python examples/train_tiny.py --data fer2013.csv --out runs/tiny
    python examples/train_tiny.py --data my_faces/ --out runs/tiny       # my_faces/train/<label>/*.png

The recipe is ``tiny.toml`` beside this script. Stop it whenever you like and run it again with ``--resume``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ferkit import ExpressionClassifier, FerkitError
from ferkit.train import train

RECIPE = Path(__file__).with_name("tiny.toml")


def drawn_face(label: str, rng: np.random.Generator) -> Image.Image:
    """Draw a 48x48 grey cartoon face; only its mouth tells the label."""
    skin = int(rng.integers(150, 220))
    picture = Image.new("L", (48, 48), int(rng.integers(0, 120)))
    pen = ImageDraw.Draw(picture)
    dx, dy = rng.integers(-2, 3, size=2).tolist()
    pen.ellipse((4 + dx, 1 + dy, 44 + dx, 47 + dy), fill=skin)
    for x in (16, 32):
        pen.ellipse((x - 3 + dx, 16 + dy, x + 3 + dx, 21 + dy), fill=20)
    mouth = (15 + dx, 28 + dy, 33 + dx, 40 + dy)
    if label == "happy":
        pen.chord(mouth, 0, 180, fill=20)
    elif label == "sad":
        pen.arc(mouth, 190, 350, fill=20, width=3)
    elif label == "surprise":
        pen.ellipse((19 + dx, 28 + dy, 29 + dx, 42 + dy), fill=20)
    else:
        pen.line((15 + dx, 35 + dy, 33 + dx, 35 + dy), fill=20, width=3)
    return picture


def draw_folder(folder: Path) -> Path:
    """Write ``folder/train|validation/<label>/*.png``."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 80), ("validation", 20)):
        for label in ("happy", "sad", "surprise", "neutral"):
            target = folder / split / label
            target.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                drawn_face(label, rng).save(target / f"{number:03}.png")
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="fer2013.csv, or a folder with one folder per label; drawn faces without it")
    parser.add_argument("--out", type=Path, default=Path("runs/tiny"), help="the run's folder (default: %(default)s)")
    parser.add_argument("--resume", action="store_true", help="continue a run that was stopped")
    args = parser.parse_args()

    data = args.data or draw_folder(args.out / "drawn")
    try:
        out = train(RECIPE, data, args.out, resume=args.resume)
    except FerkitError as error:
        print(error, file=sys.stderr)
        return 1

    classifier = ExpressionClassifier(out)
    faces = np.stack([np.asarray(drawn_face(label, np.random.default_rng(7))) for label in ("happy", "surprise")])
    for expression in classifier.predict(faces):
        print(f"{classifier.name}: {expression.label} {expression.confidence:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
