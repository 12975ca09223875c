"""``ferkit ensemble``: several weights, or the snapshots of one run, as one folder that every command accepts."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import click

from ..errors import InputError
from .options import FilePath, grouped, parted_labels, refuse_idle, shared

__all__ = ["ensemble"]


@dataclass(frozen=True)
class Fitting:
    """What the members' weights and the temperature are fitted on."""

    data: Path | None
    detector: str | None
    ferplus: Path | None

    def check(self, snapshots: Path | None) -> None:
        if snapshots is not None and self.data is None:
            raise InputError("--snapshots needs --data: the snapshots are calibrated on its PublicTest.")
        if self.ferplus is not None and self.data is None:
            raise InputError("--ferplus needs --data: the votes belong to its faces.")
        if self.data is None:
            refuse_idle("Without --data no faces are read", ["detector"])


@click.command()
@click.argument("members", nargs=-1, metavar="[WEIGHTS]...")
@click.option("--snapshots", type=FilePath(), help="Add the snapshots of this run as members; needs --data.")
@shared(
    "out",
    "data",
    "detector",
    "ferplus",
    out={"help": "Folder of the ensemble; it must not exist yet."},
    data={"required": False, "help": "Fit weights and temperature on PublicTest of this: fer2013.csv, a folder per label, or a manifest."},
    detector={"help": "Face detector for a folder's photos; none takes each picture as a ready crop.  [default: ferkit for photos]"},
    ferplus={"help": "Fit and measure FER+'s labels on these votes: fer2013new.csv."},
)
@grouped("fitting", Fitting, ("data", "detector", "ferplus"))
@click.option("--equal", is_flag=True, help="Let every member count the same; with --data the temperature alone is fitted.")
@shared(
    "combine",
    "labels",
    labels={
        "multiple": True,
        "help": "The one label set to answer in; or, and as well, what the data's labels mean: 1=surprise,2=fear.  [default: all that the members share]",
    },
)
def ensemble(
    members: tuple[str, ...], snapshots: Path | None, out: Path, fitting: Fitting, equal: bool, combine: str, labels: tuple[str, ...]
) -> None:
    """Make an ensemble of WEIGHTS (names, addresses, folders), of a run's snapshots, or of both."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's own start-up messages would bury ours
    from ..classifiers.ensemble import open_classifier
    from ..data.reading import Unmade, read_cut_faces
    from ..detectors.face_detector import FaceDetector
    from ..files import new_folder, writable
    from ..train.ensembling import make_ensemble, snapshot_weights
    from ..weights.specs import EnsembleSpec

    names: list[str | Path] = list(members)
    fitting.check(snapshots)
    chosen, relabel = parted_labels(labels)
    if relabel is not None and fitting.data is None:
        raise InputError("--labels OLD=NEW needs --data: it says what the data's labels mean.")
    writable(new_folder(out, "the ensemble"))
    data = fitting.data
    found = None if fitting.detector is None else FaceDetector(fitting.detector)
    crop = open_classifier(names[0] if names else snapshots).crop
    faces = (
        None
        if data is None
        else read_cut_faces(data, "PublicTest", Unmade(crop), ferplus=fitting.ferplus, detector=found, relabel=relabel, told=True)
    )
    if snapshots is not None and faces is not None:
        names += snapshot_weights(snapshots, faces)
    source = "" if data is None else data.resolve().name
    make_ensemble(names, out, validation=faces, source=source, labels=chosen, combine=combine, weights=not equal)
    spec = EnsembleSpec.load(out)
    outputs = {
        output.name: {
            "temperature": output.temperature,
            "members": [{"name": m["name"], "weight": round(w, 4)} for m, w in zip(spec.members, output.weights, strict=True)],
        }
        for output in spec.outputs
    }
    click.echo(json.dumps({"ensemble": str(out), "labels": outputs}, indent=1))
