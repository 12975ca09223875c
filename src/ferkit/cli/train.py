"""``ferkit train``."""

from __future__ import annotations

import os
from pathlib import Path

import click

__all__ = ["train"]


@click.command()
@click.option("--recipe", required=True, help="A recipe's name, or a TOML file.")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="fer2013.csv, or a folder with one folder per label.")
@click.option("--ferplus", type=click.Path(path_type=Path), help="FER+ votes, fer2013new.csv.")
@click.option("--photos", type=click.Path(path_type=Path), help="Folder of portraits for a recipe with [photos]: labels.csv and images.")
@click.option(
    "--detector",
    default=None,
    help="ferkit, yunet, haar, or none (each picture is a ready crop).  [default: ferkit for a folder of photos]",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The run's folder; at the end also its weights.")
@click.option("--resume", is_flag=True, help="Continue a run that was stopped or killed.")
@click.option("--max-minutes", type=click.FloatRange(min=0, min_open=True), help="Stop cleanly after this time.")
@click.option("--licence", default="not stated", show_default=True, help="Of the weights, for their card: an SPDX name.")
def train(
    recipe: str,
    data: Path,
    ferplus: Path | None,
    photos: Path | None,
    detector: str | None,
    out: Path,
    resume: bool,
    max_minutes: float | None,
    licence: str,
) -> None:
    """Train a recipe and write weights that every other command accepts."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's own start-up messages would bury ours
    from ..train import train as run

    done = run(
        recipe, data, out, ferplus=ferplus, photos=photos, detector=detector, resume=resume, max_minutes=max_minutes, licence=licence
    )
    click.echo(str(done))
