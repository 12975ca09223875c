"""Tiny trees of pictures, and what ``ferkit prepare`` makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.helpers.commands import ferkit


def picture(path: Path, shade: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([shade, *map(ord, path.as_posix()[-40:])])
    Image.fromarray(rng.integers(0, 256, (48, 48), np.uint8)).save(path)


def tree(root: Path, *files: str) -> Path:
    for file in files:
        picture(root / file)
    return root


def prepared(data: Path, out: Path, *more: str) -> dict[str, Any]:
    """Run ``ferkit prepare`` and return the faces per label of each split, without zeros."""
    done = ferkit("prepare", "--data", data, "--out", out, "--format", "json", *more)
    assert done.exit_code in (0, 1), done.output
    splits = json.loads(done.stdout)["splits"]
    return {split: {label: n for label, n in row.items() if n} for split, row in splits.items()}
