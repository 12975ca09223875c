"""``ferkit train-detector``: a thin caller of ferkit.train.detector."""

from __future__ import annotations

import os
from pathlib import Path

import click

__all__ = ["train_detector"]


@click.command("train-detector")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Folder with train/, negatives/ and dev/.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The run's folder; at the end also its weights.")
@click.option("--recipe", type=click.Path(path_type=Path), help="A TOML file.  [default: ferkit-face]")
@click.option(
    "--teacher", type=click.Path(path_type=Path), help="YuNet's file: its landmarks, steadied over several views, replace the labels'."
)
@click.option("--start", help="A detector to go on from: its folder, or a name that comes with ferkit.  [default: from nothing]")
@click.option("--resume", is_flag=True, help="Continue a run that was stopped or killed.")
@click.option("--max-minutes", type=click.FloatRange(min=0, min_open=True), help="Stop cleanly after this time.")
@click.option("--licence", default="not stated", show_default=True, help="Of the weights, for their card: an SPDX name.")
def train_detector(
    data: Path,
    out: Path,
    recipe: Path | None,
    teacher: Path | None,
    start: str | None,
    resume: bool,
    max_minutes: float | None,
    licence: str,
) -> None:
    """Train a face detector; use it with --detector ferkit --detector-model OUT."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's own start-up messages would bury ours
    from ..detectors.face_detector import FaceDetector
    from ..train import train_detector as run

    asked = None if teacher is None else FaceDetector("yunet", model=teacher, min_score=0.5)
    click.echo(str(run(data, out, recipe=recipe, teacher=asked, start=start, resume=resume, max_minutes=max_minutes, licence=licence)))
