"""``ferkit weights``: list, check, locate and fetch."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click

from .options import FORMAT, shared

if TYPE_CHECKING:
    from ..weights.records import FileEntry
    from ..weights.releases import Release
    from ..weights.specs import DetectorSpec, EnsembleSpec, WeightsSpec

__all__ = ["weights_group"]

_CALLS = 20
_NOTE = "accuracy: PublicTest, FER2013's labels, one view. ms: here and now, one face crop, or one picture of 640x480."


@click.group("weights")
def weights_group() -> None:
    """List, check, locate and fetch weights."""


@weights_group.command("list")
@shared(FORMAT, format_={"type": click.Choice(["table", "json"]), "default": "table", "help": "Table for people, or JSON."})
def weights_list(format_: str) -> None:
    """List the releases that this version knows, with their size, accuracy and milliseconds on this machine."""
    from ..weights.releases import list_weights

    rows = [_row(release) for release in list_weights()]
    if format_ == "json":
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    click.echo(f"  {'name':<19} {'kind':<11} {'MB':>5} {'parameters':>11} {'accuracy':>9} {'ms':>6}  licence")
    for row in rows:
        parameters = f"{row['parameters']:,}" if "parameters" in row else ""
        accuracy = f"{row['accuracy']:.1%}" if "accuracy" in row else ""
        milliseconds = f"{row['ms']:.1f}" if "ms" in row else ""
        click.echo(
            f"{'*' if row['default'] else ' '} {row['name']:<19} {row['kind']:<11} {row['size'] / 1e6:5.1f} {parameters:>11} {accuracy:>9} "
            f"{milliseconds:>6}  {row['licence']:<8} {row['summary']}"
        )
    click.echo(_NOTE)


def _row(release: Release) -> dict[str, Any]:
    from ..weights.releases import BUNDLED_DETECTOR, DEFAULT_WEIGHTS
    from ..weights.specs import DetectorSpec, load_spec
    from ..weights.store import bundled_folder

    row: dict[str, Any] = {"name": release.name, "kind": release.kind, "licence": release.licence, "summary": release.summary}
    row |= {"default": release.name in (DEFAULT_WEIGHTS, BUNDLED_DETECTOR), "bundled": release.hub is None}
    if release.hub is not None:
        return row | {"size": release.hub.size, "sha256": release.hub.sha256}
    spec = load_spec(bundled_folder() / release.name)
    row |= {"size": _size(spec), "metrics": spec.metrics}
    network = spec.architecture
    row |= {"parameters": network["parameters"] + network.get("points_parameters", 0), "ms": round(_milliseconds(release), 2)}
    if not isinstance(spec, DetectorSpec):
        row["labels"] = [output.name for output in spec.outputs]
        single = [m for m in spec.metrics if (m["labels"], m["tta"]) == ("fer2013", "none")]
        row |= {"accuracy": single[0]["accuracy"]} if single else {}
    return row


def _size(spec: WeightsSpec | EnsembleSpec | DetectorSpec) -> int:
    """Return how many bytes the files take, those of an ensemble's members included."""
    from ..weights.specs import EnsembleSpec, load_spec
    from ..weights.store import resolve

    own = sum(int(file["size"]) for file in spec.files.values())
    members = spec.members if isinstance(spec, EnsembleSpec) else ()
    return own + sum(_size(load_spec(resolve(member["weights"]))) for member in members if "weights" in member)


def _milliseconds(release: Release) -> float:
    """Return the median time of one answer, after a first one that warms up."""
    import numpy as np

    call: partial[Any]
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    if release.kind == "detector":
        from ..detectors.face_detector import FaceDetector

        call = partial(FaceDetector().detect, picture)
    else:
        from ..classifiers.ensemble import open_classifier

        call = partial(open_classifier(release.name).predict, picture[None, :96, :96])
    call()
    times = []
    for _ in range(_CALLS):
        begun = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - begun))
    return median(times)


@weights_group.command("verify")
@click.argument("weights", required=False)
def weights_verify(weights: str | None) -> None:
    """Check every file of some weights against its SHA-256; without a name, of all that come with the package."""
    from ..weights.releases import list_weights
    from ..weights.store import verify

    checked: dict[str, FileEntry] = {}
    for name in [release.name for release in list_weights() if release.hub is None] if weights is None else [weights]:
        new = {file: entry for file, entry in verify(name).items() if file not in checked}  # an ensemble's members have their own turn
        for file, entry in new.items():
            click.echo(f"ok  {entry['sha256']}  {entry['size']:>9}  {file}")
        checked |= new


@weights_group.command("path")
@click.argument("weights", required=False)
def weights_path(weights: str | None) -> None:
    """Print the folder of some weights, or the file of a detector that was fetched."""
    click.echo(_locate(weights, force=False))


@weights_group.command("fetch")
@click.argument("weights")
@click.option("--force", is_flag=True, help="Fetch again even if a copy is cached.")
def weights_fetch(weights: str, force: bool) -> None:
    """Fetch weights into the local cache and print where they are."""
    click.echo(_locate(weights, force=force))


def _locate(weights: str | None, force: bool) -> Path:
    from ..weights.store import resolve_any

    return resolve_any(weights, force=force)
