"""``ferkit finetune``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from .options import FORMAT, FilePath, Reading, reading_options, refuse_idle, shared

__all__ = ["finetune"]


@click.command()
@shared(
    "data",
    "relabel",
    "out",
    data={"required": False, "help": "Your pictures, photos or ready crops: a folder per label, any names, or a manifest."},
    out={"help": "Folder of the new weights."},
)
@reading_options(
    "labels",
    "tta",
    "runtime",
    "providers",
    "threads",
    "rotations",
    "min_confidence",
    weights={"help": "Weights to start from: a name, hf://org/repo@revision, or a folder.  [default: the bundled ones]"},
    detector={"help": "Face detector for photos; none takes each picture as a ready crop.  [default: ferkit for photos]"},
)
@click.option(
    "--prepared",
    metavar="OUTPUT",
    help="Take the faces that ferkit batch found in the same pictures, or the crops of ferkit prepare, and look for none; --data may then be left out.",
)
@click.option("--holdout", type=click.FloatRange(0.05, 0.5), default=0.2, show_default=True, help="Share of each label to hold out.")
@click.option("--val", type=FilePath(), help="Hold this out instead: a folder or a manifest.")
@click.option("--folds", type=click.IntRange(2, 20), help="Hold every face out once, in so many folds, and learn from all in the end.")
@click.option(
    "--group",
    metavar="WHOSE",
    help="Keep a person on one side: folder (the first below the label's), a regular expression on the path, or a manifest's column.  "
    "[default: a manifest's column person]",
)
@click.option("--publictest", type=FilePath(), help="Measure before and after on PublicTest of this fer2013.csv as well.")
@click.option("--unfreeze", is_flag=True, help="Then train more of the network, and keep of that what cross-validation says helps.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the split.")
@shared("licence")
@click.option("--report", type=FilePath(file_okay=False), help="Write report.html here: figures, mistakes, every held-out file.")
@shared(FORMAT)
def finetune(data: Path | None, out: Path, reading: Reading, format_: str, **options: Any) -> None:
    """Adapt weights to your own labels and pictures, and write weights that every other command accepts."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's own start-up messages would bury ours
    if data is None and options["prepared"] is None:
        raise click.UsageError("Missing option '--data', or '--prepared'.")
    if options["val"] is not None or options["folds"] is not None:
        refuse_idle("--val and --folds say what is held out", ["holdout"])
    base = reading.weights or "the default weights"
    click.echo(
        f"ferkit: fine-tuning {base} on {data or options['prepared']} into {out}; loading what that needs takes some seconds.", err=True
    )
    from ..train import finetune as run
    from ..train.finetuning.assembly import format_finetuning

    report = run(data, out, reading.weights, detector=reading.asked_detector(), progress=True, **options)
    click.echo(json.dumps(report, indent=1, ensure_ascii=False) if format_ == "json" else format_finetuning(report))
    for _, reason in report["skipped"]:
        click.echo(f"ferkit: {reason}", err=True)
    if report["skipped"]:
        sys.exit(1)
