"""``ferkit train-detector``: a thin caller of ferkit.train.detector."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from .options import FilePath, shared
from .train import run_folder

__all__ = ["train_detector"]


@click.command("train-detector")
@shared("data", "out", data={"help": "Photos to learn from: a folder with train/, negatives/ and dev/."})
@click.option("--recipe", type=FilePath(), help="Recipe to train: a TOML file.  [default: ferkit-face]")
@click.option("--teacher", type=FilePath(), help="YuNet's file: its landmarks, steadied over several views, replace the labels'.")
@click.option("--start", help="Detector to go on from: its folder, or a name that comes with ferkit.  [default: from nothing]")
@shared("resume", "max_minutes", "licence")
def train_detector(data: Path, out: Path, teacher: Path | None, **options: Any) -> None:
    """Train a face detector; use it with --detector ferkit --detector-model OUT."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's own start-up messages would bury ours
    recipe = options["recipe"] or "ferkit-face"
    click.echo(f"ferkit: training {recipe} on {data} into {out}; loading Keras takes some seconds.", err=True)
    from ..detectors.face_detector import FaceDetector
    from ..train import train_detector as run

    asked = None if teacher is None else FaceDetector("yunet", model=teacher, min_score=0.5)
    run_folder(run(data, out, teacher=asked, **options))
