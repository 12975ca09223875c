"""``ferkit prepare``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

__all__ = ["prepare"]


@click.command()
@click.option("--data", required=True, type=click.Path(path_type=Path), help="fer2013.csv, or a folder per label of photos or crops.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder; run it again to go on.")
@click.option("--detector", default="none", show_default=True, help="ferkit, yunet or haar: find, align and cut the face of every picture.")
@click.option("--detector-model", type=click.Path(path_type=Path), help="The detector's own file, instead of the default one.")
@click.option("--size", type=click.IntRange(16, 1024), default=48, show_default=True, help="Side of the prepared faces, pixels.")
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True)
def prepare(data: Path, out: Path, detector: str, detector_model: Path | None, size: int, format_: str) -> None:
    """Write one folder of face pictures per label per split, tables of boxes and landmarks, and a report of copies."""
    from ..data.preparing import format_preparation
    from ..data.preparing import prepare as run
    from ..detectors.face_detector import FaceDetector

    report = run(data, out, detector=FaceDetector(detector, model=detector_model), size=size, progress=True)
    click.echo(json.dumps(report, indent=1, ensure_ascii=False) if format_ == "json" else format_preparation(report))
    for _, reason in report["skipped"]:
        click.echo(f"ferkit: {reason}", err=True)
    if report["skipped"]:
        sys.exit(1)
