"""What reading one split of a csv of faces holds at most, beside its pixels: rows of other splits must cost nothing.

python benchmarks/csv_memory.py
"""

from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path

from ferkit.data import read_csv

FACES, EVERY = 6_600, 11  # of which one in so many is PublicTest


def write(path: Path) -> Path:
    """Write a csv of 60 MB."""
    row = " ".join(["128"] * 2304)
    with path.open("w", encoding="utf-8") as file:
        file.write("emotion,pixels,Usage\n")
        for number in range(FACES):
            file.write(f"{number % 7},{row},{'Training' if number % EVERY else 'PublicTest'}\n")
    return path


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "faces.csv")
        read_csv(path, "PublicTest")  # imports are not the file's
        for split in ("PublicTest", "Training"):
            tracemalloc.start()
            faces = read_csv(path, split)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            pixels = faces.images.nbytes
            print(
                f"{split}: {len(faces):,} faces, {pixels / 1e6:.1f} MB of pixels, {peak / 1e6:.1f} MB at most ({peak / pixels:.2f} times)"
            )


if __name__ == "__main__":
    main()
