"""``ferkit ensemble``: several weights, or the snapshots of one run, as one folder that every command accepts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from ..errors import InputError

__all__ = ["ensemble"]


@click.command()
@click.argument("members", nargs=-1, metavar="[WEIGHTS]...")
@click.option("--snapshots", type=click.Path(path_type=Path), help="Add the snapshots of this run as members; needs --data.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A new folder for the ensemble.")
@click.option("--data", type=click.Path(path_type=Path), help="fer2013.csv or a folder: fit weights and temperature on its PublicTest.")
@click.option(
    "--detector",
    default=None,
    help="ferkit, yunet, haar, or none (each picture is a ready crop).  [default: ferkit for a folder of photos]",
)
@click.option("--ferplus", type=click.Path(path_type=Path), help="FER+ votes, fer2013new.csv: fit and measure FER+'s labels on them.")
@click.option("--equal", is_flag=True, help="Let every member count the same; with --data the temperature alone is fitted.")
@click.option("--combine", default="probability", show_default=True, help="probability or logit: what is averaged.")
@click.option("--labels", default=None, help="The one label set to answer in.  [default: all that the members share]")
def ensemble(
    members: tuple[str, ...],
    snapshots: Path | None,
    out: Path,
    data: Path | None,
    detector: str | None,
    ferplus: Path | None,
    equal: bool,
    combine: str,
    labels: str | None,
) -> None:
    """Make an ensemble of WEIGHTS (names, addresses, folders), of a run's snapshots, or of both."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's own start-up messages would bury ours
    from ..classifiers.ensemble import open_classifier
    from ..data.recognising import read_cut_faces
    from ..detectors.face_detector import FaceDetector
    from ..files import writable
    from ..train.ensembling import make_ensemble, snapshot_weights
    from ..weights.specs import EnsembleSpec

    names: list[str | Path] = list(members)
    if snapshots is not None and data is None:
        raise InputError("--snapshots needs --data: the snapshots are calibrated on its PublicTest.")
    if ferplus is not None and data is None:
        raise InputError("--ferplus needs --data: the votes belong to its faces.")
    if out.exists():
        raise InputError(f"{out} already exists; expected the name of a new folder for the ensemble.")
    writable(out)
    found = None if detector is None else FaceDetector(detector)
    crop = open_classifier(names[0] if names else snapshots).crop
    faces = None if data is None else read_cut_faces(data, "PublicTest", crop, ferplus=ferplus, detector=found)
    if snapshots is not None and faces is not None:
        names += snapshot_weights(snapshots, faces)
    source = "" if data is None else data.resolve().name
    make_ensemble(names, out, validation=faces, source=source, labels=labels, combine=combine, weights=not equal)
    spec = EnsembleSpec.load(out)
    outputs = {
        output.name: {
            "temperature": output.temperature,
            "members": [{"name": m["name"], "weight": round(w, 4)} for m, w in zip(spec.members, output.weights, strict=True)],
        }
        for output in spec.outputs
    }
    click.echo(json.dumps({"ensemble": str(out), "labels": outputs}, indent=1))
