"""``ferkit finetune``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

__all__ = ["finetune"]


@click.command()
@click.option("--data", required=True, type=click.Path(path_type=Path), help="A folder per label, any names: photos, or ready crops.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the new weights.")
@click.option("--weights", default=None, help="What to start from: a name, hf://org/repo@revision, or a folder.  [default: bundled]")
@click.option("--detector", default=None, help="ferkit, yunet, haar, or none (each picture is a ready crop).  [default: ferkit]")
@click.option("--detector-model", type=click.Path(path_type=Path), help="The detector's own file, instead of the default one.")
@click.option("--holdout", type=click.FloatRange(0.05, 0.5), default=0.2, show_default=True, help="Share of each label that is held out.")
@click.option("--publictest", type=click.Path(path_type=Path), help="fer2013.csv: measure before and after on its PublicTest too.")
@click.option("--unfreeze", is_flag=True, help="Then train the whole network at a low rate, and keep that if it is better.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the split.")
@click.option("--licence", default="not stated", show_default=True, help="Of the weights, for their card: an SPDX name.")
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True)
def finetune(
    data: Path,
    out: Path,
    weights: str | None,
    detector: str | None,
    detector_model: Path | None,
    holdout: float,
    publictest: Path | None,
    unfreeze: bool,
    seed: int,
    licence: str,
    format_: str,
) -> None:
    """Adapt weights to your own labels and pictures, and write weights that every other command accepts."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's own start-up messages would bury ours
    from ..detectors.face_detector import FaceDetector
    from ..train import finetune as run
    from ..train.finetuning.assembly import format_finetuning

    faces = FaceDetector(detector, model=detector_model)
    report = run(
        data,
        out,
        weights,
        detector=faces,
        publictest=publictest,
        holdout=holdout,
        seed=seed,
        unfreeze=unfreeze,
        licence=licence,
        progress=True,
    )
    click.echo(json.dumps(report, indent=1, ensure_ascii=False) if format_ == "json" else format_finetuning(report))
    for _, reason in report["skipped"]:
        click.echo(f"ferkit: {reason}", err=True)
    if report["skipped"]:
        sys.exit(1)
