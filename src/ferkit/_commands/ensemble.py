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
@click.option("--equal", is_flag=True, help="Let every member count the same; with --data the temperature alone is fitted.")
@click.option("--combine", default="probability", show_default=True, help="probability or logit: what is averaged.")
@click.option("--labels", default=None, help="Which of the members' label sets to answer in.")
def ensemble(
    members: tuple[str, ...], snapshots: Path | None, out: Path, data: Path | None, equal: bool, combine: str, labels: str | None
) -> None:
    """Make an ensemble of WEIGHTS (names, addresses, folders), of a run's snapshots, or of both."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's own start-up messages would bury ours
    from ..ensemble import Ensemble

    names: list[str] = list(members)
    if snapshots is not None and data is None:
        raise InputError("--snapshots needs --data: the snapshots are calibrated on its PublicTest.")
    if out.exists():
        raise InputError(f"{out} already exists; expected the name of a new folder for the ensemble.")
    faces = None
    if data is not None:
        from ..train.data import read_faces

        faces = read_faces(data, "PublicTest")
    if snapshots is not None and faces is not None:
        from ..train.ensembling import snapshot_weights

        names += [str(folder) for folder in snapshot_weights(snapshots, faces)]
    made = Ensemble.from_pretrained(names, combine=combine, labels=labels)
    if faces is not None:
        from ..train.ensembling import fit_ensemble

        made = fit_ensemble(made, faces, weights=not equal)
    made.save(out)
    counts = [{"name": m.name, "weight": round(float(w), 4)} for m, w in zip(made.members, made.weights, strict=True)]
    click.echo(json.dumps({"ensemble": str(out), "temperature": made.temperature, "members": counts}, indent=1))
