"""``ferkit train``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from .options import shared

__all__ = ["run_folder", "train"]


@click.command(short_help="Train a recipe and write its weights.")
@click.option("--recipe", required=True, help="Recipe to train: its name, or a TOML file.")
@shared("data", "relabel", "ferplus")
@click.option(
    "--photos", type=click.Path(path_type=Path), help="Portraits for a recipe with [photos]: a folder with labels.csv and images."
)
@shared(
    "detector",
    "out",
    "resume",
    "max_minutes",
    "licence",
    detector={"help": "Face detector for a folder's photos; none takes each picture as a ready crop.  [default: ferkit for photos]"},
)
def train(recipe: str, data: Path, out: Path, **options: Any) -> None:
    """Train a recipe and write weights that every other command accepts."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's own start-up messages would bury ours
    from ..train import train as run

    run_folder(run(recipe, data, out, **options))


def run_folder(out: Path) -> None:
    """Print a run's folder, and how to go on where it holds no weights yet."""
    click.echo(str(out))
    if not (out / "spec.json").exists():
        click.echo("ferkit: the run is not finished; type the same command with --resume to go on.", err=True)
