"""``ferkit evaluate``."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import FORMAT, FilePath, Reading, grouped, parted_labels, reading_options, refuse_idle, shared

if TYPE_CHECKING:
    from ..evaluation.measuring import Measurement

__all__ = ["evaluate"]


@dataclass(frozen=True)
class Labelled:
    """The faces to measure on."""

    data: Path
    split: str
    ferplus: Path | None
    agreed: bool
    limit: int | None

    def check(self) -> None:
        if self.agreed and self.ferplus is None:
            raise click.UsageError("--agreed needs the FER+ votes; type --ferplus fer2013new.csv as well.")


@dataclass(frozen=True)
class ModelFile:
    """How to feed a bare model file."""

    input_size: int | None
    mean: float
    std: float


@click.command()
@shared("data", "split", "ferplus", ferplus={"help": "Score against the majority of these FER+ votes instead: fer2013new.csv."})
@click.option("--agreed", is_flag=True, help="Take only the faces whose FER2013 label is the majority of --ferplus as well.")
@click.option("--limit", type=click.IntRange(1), help="Take only the first faces of the split.")
@grouped("labelled", Labelled, ("data", "split", "ferplus", "agreed", "limit"))
@reading_options(
    "providers",
    "threads",
    "rotations",
    "min_confidence",
    weights={"help": "Weights to measure: a name, hf://org/repo@revision, a folder, or a bare model file.  [default: the bundled ones]"},
    labels={
        "multiple": True,
        "help": "Which of the weights' label sets to answer in; for a model file its class names in order, a,b,c. "
        "Or, and as well, what the data's labels mean: 1=surprise,2=fear; 8= leaves one out.",
    },
    detector={"help": "Face detector for a folder's photos; none takes each picture as a ready crop.  [default: ferkit for photos]"},
)
@click.option("--input-size", type=click.IntRange(8), help="Side of a model file's input in pixels, if the file does not say.")
@click.option("--mean", type=float, default=0.0, show_default=True, help="Mean of a model file: its input is (pixel / 255 - mean) / std.")
@click.option(
    "--std", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True, help="Deviation of a model file; see --mean."
)
@grouped("model_file", ModelFile, ("input_size", "mean", "std"))
@click.option("--report", "report_folder", type=FilePath(file_okay=False), help="Write report.html, one self-contained page, here.")
@shared(FORMAT)
def evaluate(labelled: Labelled, reading: Reading, model_file: ModelFile, report_folder: Path | None, format_: str) -> None:
    """Measure weights on labelled faces: accuracy with its 95 % interval, macro-F1, calibration, confusion matrix."""
    from ..evaluation.measuring import format_report, learnt_warning, measure
    from ..files import writable

    labelled.check()
    if report_folder is not None:
        writable(report_folder, 20 << 20, "report")
    labels, relabel = parted_labels(reading.labels)
    classifier = _opened(replace(reading, labels=labels), model_file, labelled)
    measured = measure(classifier, detector=reading.asked_detector(), progress=True, relabel=relabel, **vars(labelled))
    report = measured.report
    click.echo(json.dumps(report, indent=1, ensure_ascii=False) if format_ == "json" else format_report(report))
    warning = learnt_warning(report)
    if warning is not None:
        click.echo(f"ferkit: {warning}", err=True)
    if report_folder is not None:
        _write_report(measured, classifier, reading.weights, report_folder)
    for _, reason in report["skipped"]:
        click.echo(f"ferkit: {reason}", err=True)
    if report["skipped"]:
        sys.exit(1)


def _opened(reading: Reading, model_file: ModelFile, labelled: Labelled) -> Any:
    from ..classifiers.model_file import SUFFIXES, ModelFileClassifier
    from ..weights.store import refuse_inner_file

    if reading.weights is not None:
        refuse_inner_file(reading.weights)
    if reading.weights is not None and reading.weights.lower().endswith(SUFFIXES):
        refuse_idle("A model file is run by the engine of its kind", ["runtime"])
        names = reading.labels.split(",") if reading.labels is not None else None
        return ModelFileClassifier(reading.weights, labels=names, tta=reading.tta, **vars(model_file))
    refuse_idle(f"Weights say themselves how they are fed, and {reading.weights or 'the bundled ones'} are no model file", vars(model_file))
    return reading.open_classifier(labels=reading.labels or ("ferplus" if labelled.ferplus and not labelled.agreed else None))


def _write_report(measured: Measurement, classifier: Any, weights: str | None, folder: Path) -> None:
    from ..evaluation.report import read_history, write_report
    from ..explain.coloring import overlay
    from ..explain.occluding import occlusion
    from ..image_files import expanded

    history = read_history(expanded(weights)) if weights is not None else []

    def reason(face: Any, column: int) -> Any:
        return overlay(face, occlusion(classifier, face)[column])

    click.echo(f"Wrote {write_report(measured, folder, history=history, reason=reason)}", err=True)
