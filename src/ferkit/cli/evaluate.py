"""``ferkit evaluate``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

__all__ = ["evaluate"]


@click.command()
@click.option("--data", required=True, type=click.Path(path_type=Path), help="fer2013.csv, or a folder with one folder per label.")
@click.option("--split", default="PublicTest", show_default=True, help="Training, PublicTest or PrivateTest.")
@click.option("--ferplus", type=click.Path(path_type=Path), help="fer2013new.csv: score against the FER+ majority instead.")
@click.option("--agreed", is_flag=True, help="With --ferplus: only the faces whose FER2013 label is the FER+ majority too.")
@click.option("--weights", default=None, help="A name, hf://org/repo@revision, a folder, or a bare model file.  [default: bundled]")
@click.option("--labels", default=None, help="Which of the weights' label sets to answer in; for a model file its class names, a,b,c.")
@click.option("--tta", default=None, help="Test-time augmentation: flip, ten-crop, or random:N.")
@click.option("--runtime", default="opencv", show_default=True, help="opencv or onnxruntime.")
@click.option(
    "--detector",
    default=None,
    help="ferkit, yunet, haar, or none (each picture is a ready crop).  [default: ferkit for a folder of photos]",
)
@click.option("--detector-model", type=click.Path(path_type=Path), help="The detector's own file, instead of the default one.")
@click.option("--input-size", type=click.IntRange(8), help="Of a model file: the side of its input in pixels, if the file does not say.")
@click.option("--mean", type=float, default=0.0, show_default=True, help="Of a model file: its input is (pixel / 255 - mean) / std.")
@click.option("--std", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True, help="Of a model file, see --mean.")
@click.option(
    "--report", "report_folder", type=click.Path(path_type=Path, file_okay=False), help="Write report.html, one self-contained page."
)
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--limit", type=click.IntRange(1), help="Only the first faces of the split.")
def evaluate(
    data: Path,
    split: str,
    ferplus: Path | None,
    agreed: bool,
    weights: str | None,
    labels: str | None,
    tta: str | None,
    runtime: str,
    detector: str | None,
    detector_model: Path | None,
    input_size: int | None,
    mean: float,
    std: float,
    report_folder: Path | None,
    format_: str,
    limit: int | None,
) -> None:
    """Measure weights on labelled faces: accuracy with its 95 % interval, macro-F1, calibration, confusion matrix."""
    from ..classifiers.model_file import SUFFIXES, ModelFileClassifier
    from ..detectors.face_detector import FaceDetector
    from ..evaluation.measuring import format_report, measure
    from ..files import writable

    if agreed and ferplus is None:
        raise click.UsageError("--agreed needs the FER+ votes; type --ferplus fer2013new.csv as well.")
    if report_folder is not None:
        writable(report_folder, 20 << 20)
    classifier: Any
    if weights is not None and weights.lower().endswith(SUFFIXES):
        names = labels.split(",") if labels is not None else None
        classifier = ModelFileClassifier(weights, labels=names, input_size=input_size, mean=mean, std=std, tta=tta)
    else:
        from ..classifiers.ensemble import open_classifier

        classifier = open_classifier(weights, labels=labels or ("ferplus" if ferplus and not agreed else None), runtime=runtime, tta=tta)
    faces = None if detector is None and detector_model is None else FaceDetector(detector, model=detector_model)
    measured = measure(classifier, data, split=split, ferplus=ferplus, limit=limit, detector=faces, progress=True, agreed=agreed)
    report = measured.report
    click.echo(json.dumps(report, indent=1, ensure_ascii=False) if format_ == "json" else format_report(report))
    if report_folder is not None:
        from ..evaluation.report import read_history, write_report
        from ..explain.coloring import overlay
        from ..explain.occluding import occlusion

        history = read_history(Path(weights)) if weights is not None else []

        def reason(face: Any, column: int) -> Any:
            return overlay(face, occlusion(classifier, face)[column])

        click.echo(f"Wrote {write_report(measured, report_folder, history=history, reason=reason)}", err=True)
    for _, reason in report["skipped"]:
        click.echo(f"ferkit: {reason}", err=True)
    if report["skipped"]:
        sys.exit(1)
