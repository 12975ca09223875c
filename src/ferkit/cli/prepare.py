"""``ferkit prepare``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from .options import FORMAT, shared

__all__ = ["prepare"]


@click.command()
@shared(
    "data",
    "out",
    "detector",
    "detector_model",
    "relabel",
    data={"help": "Pictures to prepare: fer2013.csv, a folder per label of photos or crops, or a manifest."},
    out={"help": "Folder of the faces; the same command goes on after a stop."},
    detector={"default": "none", "show_default": True, "help": "Face detector to cut the faces with; none takes whole pictures."},
)
@click.option("--size", type=click.IntRange(16, 1024), default=48, show_default=True, help="Side of the prepared faces, in pixels.")
@click.option("--moved", is_flag=True, help="Go on with the data that the folder was begun with, which lie elsewhere now.")
@shared(FORMAT)
def prepare(data: Path, out: Path, detector: str, detector_model: Path | None, size: int, relabel: Any, moved: bool, format_: str) -> None:
    """Write one folder of face pictures per label per split, tables of boxes and landmarks, and a report of copies."""
    from ..data.preparing import format_preparation
    from ..data.preparing import prepare as run
    from ..detectors.face_detector import FaceDetector

    found = FaceDetector(detector, model=detector_model)
    report = run(data, out, detector=found, size=size, relabel=relabel, moved=moved, progress=True)
    click.echo(json.dumps(report, indent=1, ensure_ascii=False) if format_ == "json" else format_preparation(report))
    for _, reason in report["skipped"]:
        click.echo(f"ferkit: {reason}", err=True)
    if report["skipped"]:
        sys.exit(1)
